package config

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Fault is one error in a configuration. It never contains the text of a secret.
type Fault struct {
	// Where is the place to correct: a line of the file such as "config.yaml:12", an environment variable or a flag.
	// It is empty for a setting that is not set.
	Where string
	// Key is the setting, such as "saasquatch.api_key". It is empty for a fault of the whole file.
	Key string
	// Problem describes the error and the remedy.
	Problem string
}

func (f *Fault) Error() string {
	text := f.Problem
	if f.Key != "" {
		text = f.Key + ": " + text
	}
	if f.Where != "" {
		text = f.Where + ": " + text
	}
	return text
}

// faults collects the faults of one report.
type faults []*Fault

func (fs *faults) add(where, key, format string, args ...any) {
	*fs = append(*fs, &Fault{Where: where, Key: key, Problem: fmt.Sprintf(format, args...)})
}

// maxFaults limits the report on a file that is no configuration at all.
const maxFaults = 100

// join returns an error that prints one fault a line, or nil.
func (fs faults) join() error {
	var list []error
	for _, fault := range fs[:min(len(fs), maxFaults)] {
		list = append(list, fault)
	}
	if more := len(fs) - maxFaults; more > 0 {
		list = append(list, &Fault{Problem: fmt.Sprintf("and %d more faults: fix these first", more)})
	}
	return errors.Join(list...)
}

const quotedRunes = 60

// quote shows the value of a setting that is no secret, on one line and shortened.
func quote(text string) string {
	if utf8.RuneCountInString(text) > quotedRunes {
		text = string([]rune(text)[:quotedRunes]) + "…"
	}
	return fmt.Sprintf("%q", text)
}

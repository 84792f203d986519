package config

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// Fault is one thing that is wrong with a configuration. It never holds the
// text of a secret.
type Fault struct {
	// Where is the place to mend: a line of the file such as "config.yaml:12", an
	// environment variable or a flag; empty for a setting that is nowhere set.
	Where string
	// Key is the setting, such as "saasquatch.api_key"; empty if the fault is the
	// whole file's.
	Key string
	// Problem says what is wrong and what would be right.
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

// faults collects. The joined error prints one fault a line.
type faults []error

func (fs *faults) add(where, key, format string, args ...any) {
	*fs = append(*fs, &Fault{Where: where, Key: key, Problem: fmt.Sprintf(format, args...)})
}

// maxFaults bounds the report on a file that is something else altogether.
const maxFaults = 100

func (fs faults) join() error {
	if more := len(fs) - maxFaults; more > 0 {
		return errors.Join(append(fs[:maxFaults:maxFaults], &Fault{Problem: fmt.Sprintf("and %d more faults: mend these first", more)})...)
	}
	return errors.Join(fs...)
}

const quotedRunes = 60

// quote shows a value in a fault, on one line and not too long. It is for
// values of settings that are no secrets.
func quote(text string) string {
	if utf8.RuneCountInString(text) > quotedRunes {
		text = string([]rune(text)[:quotedRunes]) + "…"
	}
	return fmt.Sprintf("%q", text)
}

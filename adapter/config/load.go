package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/pflag"
)

const (
	// maxFileSize bounds the configuration file in bytes.
	maxFileSize = 1 * mebibyte
	// maxValueSize bounds a file that holds one value, in bytes.
	maxValueSize = 64 * kibibyte
)

// Source is where a configuration comes from. The zero Source yields the
// defaults.
type Source struct {
	// File is the path of the YAML file, at most 1 MiB. Default: none.
	File string
	// Env looks up an environment variable, as os.LookupEnv does; one that is
	// empty counts as unset. Default: no environment.
	Env func(string) (string, bool)
	// Flags holds the flags of [RegisterFlags], parsed; only flags that were given
	// count. Default: none.
	Flags *pflag.FlagSet
	// ReadFile reads File and the files that variables ending in _FILE name.
	// Default: os.ReadFile with a bound on the size.
	ReadFile func(string) ([]byte, error)
}

// Load reads and merges a configuration. On error it returns no Config and
// every fault at once, joined; each is a [*Fault]. A loaded Config is readable,
// not yet right: see [Config.Validate].
func Load(src Source) (*Config, error) {
	if src.ReadFile == nil {
		src.ReadFile = readFile
	}
	l := &loader{src: src, config: Default()}
	if src.File != "" {
		l.loadFile()
	}
	l.loadEnv()
	l.loadFlags()
	if err := l.faults.join(); err != nil {
		return nil, err
	}
	return l.config, nil
}

// loader is the state of one Load.
type loader struct {
	src    Source
	config *Config
	faults faults
}

// readFile is os.ReadFile that ends soon after the largest size of interest,
// whatever the path names.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFileSize+1))
}

// readFault says why a file could not be read, without its path: where the path
// comes from a variable for a secret, it may be the secret itself.
func readFault(err error) string {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err.Error()
	}
	return "reading failed"
}

// loadEnv takes the settings that the environment has.
func (l *loader) loadEnv() {
	if l.src.Env == nil {
		return
	}
	for i := range settings {
		s := &settings[i]
		if s.Env == "" {
			continue
		}
		if text, name, ok := l.lookup(s); ok {
			l.override(s, text, name)
		}
	}
}

// lookup returns the setting's text and the variable it came from.
func (l *loader) lookup(s *setting) (text, name string, ok bool) {
	text, _ = l.src.Env(s.Env)
	path, _ := l.src.Env(s.EnvFile())
	switch {
	case text == "" && path == "":
		return "", "", false
	case path == "":
		return text, s.Env, true
	case text != "":
		l.faults.add(s.Env, s.Key, "stands beside %s: unset one of them", s.EnvFile())
		return "", "", false
	}
	content, err := l.src.ReadFile(path)
	if err != nil {
		l.faults.add(s.EnvFile(), s.Key, "cannot read the file it names (%s): mend the path or the file's permissions", readFault(err))
		return "", "", false
	}
	text, problem := valueText(content)
	if problem != "" {
		l.faults.add(s.EnvFile(), s.Key, "%s", problem)
		return "", "", false
	}
	return text, s.EnvFile(), true
}

// loadFlags takes the settings that flags were given for.
func (l *loader) loadFlags() {
	if l.src.Flags == nil {
		return
	}
	for i := range settings {
		s := &settings[i]
		if s.Flag == "" {
			continue
		}
		if flag := l.src.Flags.Lookup(s.Flag); flag != nil && flag.Changed {
			l.override(s, flag.Value.String(), "--"+s.Flag)
		}
	}
}

// override sets a setting over the file's value. Connections of the list form
// cannot be overridden, since it would be open which one is meant.
func (l *loader) override(s *setting, text, where string) {
	if s.PerConnection && l.config.several {
		l.faults.add(where, s.Key, "cannot be set while the file has connections: unset it and set the key of the connection it is meant for")
		return
	}
	if err := s.field(l.config, &l.config.Connections[0]).set(text); err != nil {
		l.faults.add(where, s.Key, "%v", err)
		return
	}
	l.config.origins[s.Key] = origin(where)
}

// loadFile takes the settings of the configuration file.
func (l *loader) loadFile() {
	content, err := l.src.ReadFile(l.src.File)
	if err != nil {
		l.faults.add(l.src.File, "", "cannot read the configuration file (%s)", readFault(err))
		return
	}
	if len(content) > maxFileSize {
		l.faults.add(l.src.File, "", "the configuration file is larger than 1 MiB: make it smaller")
		return
	}
	root, line, problem := parse(content)
	if problem != "" {
		where := l.src.File
		if line > 0 {
			where = fmt.Sprintf("%s:%d", where, line)
		}
		l.faults.add(where, "", "%s", problem)
		return
	}
	if root == nil {
		return
	}
	r := &reader{file: l.src.File, config: l.config, budget: maxNodes}
	r.root(root)
	l.faults = append(l.faults, r.faults...)
}

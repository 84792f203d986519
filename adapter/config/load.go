package config

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"
)

const (
	// maxFileSize is the largest configuration file in bytes.
	maxFileSize = 1 * mebibyte
	// maxValueSize is the largest file with one value, in bytes.
	maxValueSize = 64 * kibibyte
)

// Source is where a configuration comes from. The zero Source yields the defaults.
type Source struct {
	// File is the path of the YAML file, at most 1 MiB. Default: none.
	File string
	// Env looks up an environment variable, as os.LookupEnv does. An empty variable counts as unset. Default: no
	// environment.
	Env func(string) (string, bool)
	// Flags holds the parsed flags of [RegisterFlags]. Only flags that were given count. Default: none.
	Flags *pflag.FlagSet
	// ReadFile reads File and the files that variables ending in _FILE name. Default: os.ReadFile with a size limit.
	ReadFile func(string) ([]byte, error)
}

// Load reads and merges a configuration. On error it returns no Config and every fault at once, joined; each is a
// [*Fault]. A loaded Config is readable but may be invalid: see [Config.Validate].
func Load(src Source) (*Config, error) {
	if src.ReadFile == nil {
		src.ReadFile = readFile
	}
	l := &loader{src: src, config: Default()}
	if src.File != "" {
		l.loadFile()
	}
	for i := range settings {
		if s := &settings[i]; src.Env != nil && s.Env != "" {
			if text, name, ok := l.lookup(s); ok {
				l.override(s, text, name)
			}
		}
	}
	for i := range settings {
		if s := &settings[i]; src.Flags != nil && s.Flag != "" {
			if flag := src.Flags.Lookup(s.Flag); flag != nil && flag.Changed {
				l.override(s, flag.Value.String(), "--"+s.Flag)
			}
		}
	}
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

// readFile is os.ReadFile with a size limit, in case the path names a device.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, maxFileSize+1))
}

// readFault says why a file could not be read. It omits the path, because the value of a variable that should name a
// file may be the secret itself.
func readFault(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err.Error()
	}
	return "reading failed"
}

// lookup returns the setting's text and the variable it came from.
func (l *loader) lookup(s *setting) (text, name string, ok bool) {
	text, _ = l.src.Env(s.Env)
	path, _ := l.src.Env(s.EnvFile())
	if path == "" {
		return text, s.Env, text != ""
	}
	if text != "" {
		l.faults.add(s.Env, s.Key, "is set together with %s: unset one of them", s.EnvFile())
		return "", "", false
	}
	content, err := l.src.ReadFile(path)
	if err != nil {
		l.faults.add(s.EnvFile(), s.Key,
			"cannot read the file it names (%s): fix the path or the file's permissions", readFault(err))
		return "", "", false
	}
	if problem := valueFileProblem(content); problem != "" {
		l.faults.add(s.EnvFile(), s.Key, "the file it names %s", problem)
		return "", "", false
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(content), "\n"), "\r"), s.EnvFile(), true
}

// valueFileProblem returns why a file does not hold one value, or "". It shows nothing of the file.
func valueFileProblem(content []byte) string {
	switch {
	case len(content) > maxValueSize:
		return "is larger than 64 KiB: name a file that contains the value alone"
	case bytes.HasPrefix(content, []byte("\xff\xfe")), bytes.HasPrefix(content, []byte("\xfe\xff")):
		return "is UTF-16: save it as UTF-8 without a byte order mark"
	case bytes.IndexByte(content, 0) >= 0:
		return "contains NUL bytes, so it is UTF-16 or not text: save the value alone, as UTF-8"
	case bytes.HasPrefix(content, []byte(byteOrderMark)):
		return "begins with a byte order mark: save it as UTF-8 without one"
	case len(bytes.TrimSpace(content)) == 0:
		return "is empty: write the value into it or unset the variable"
	}
	return ""
}

// override sets a setting over the file's value. It refuses settings of connections if the file has a list of them,
// because it is unknown which connection is meant.
func (l *loader) override(s *setting, text, where string) {
	if s.PerConnection && l.config.several {
		l.faults.add(where, s.Key,
			"cannot be set while the file has connections: unset it and set the key of the connection it is meant for")
		return
	}
	if err := s.field(l.config, &l.config.Connections[0]).set(text); err != nil {
		l.faults.add(where, s.Key, "%v", err)
		return
	}
	l.config.origins[s.Key] = origin(where)
}

// loadFile reads the settings of the configuration file.
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
			where = string(originLine(where, line))
		}
		l.faults.add(where, "", "%s", problem)
		return
	}
	if root != nil {
		r := &reader{file: l.src.File, config: l.config, budget: maxNodes}
		r.root(root)
		l.faults = append(l.faults, r.faults...)
	}
}

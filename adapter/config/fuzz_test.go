package config

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzLoad: any bytes yield faults, or a Config that validates without a panic and prints as a file with the same
// meaning.
func FuzzLoad(f *testing.F) {
	for _, pattern := range []string{"*.yaml", "bad/*/config.yaml"} {
		paths, err := filepath.Glob(filepath.Join(testdata, pattern))
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(content)
		}
	}
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("\xff\xfea\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		c, err := Load(Source{File: "c.yaml", ReadFile: func(string) ([]byte, error) { return content, nil }})
		if (c == nil) == (err == nil) {
			t.Fatalf("Load = %v, %v", c, err)
		}
		if err != nil {
			eachFault(t, err)
			return
		}
		c.TLS = TLS{} // Validate would open these files.
		_ = c.Validate()
		_ = c.ValidateMapping()
		_ = c.Warnings()
		checkRoundTrip(t, c)
	})
}

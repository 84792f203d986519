package config

import "github.com/spf13/pflag"

// RegisterFlags adds a flag for every setting that has one. Secrets have none, because other users of a machine can
// read command lines. [Load] reads the values and reports a wrong one like a wrong value of the file.
func RegisterFlags(flags *pflag.FlagSet) {
	for i := range settings {
		s := &settings[i]
		if s.Flag == "" {
			continue
		}
		flag := flags.VarPF(&flagValue{text: s.Default, kind: s.Kind}, s.Flag, "", s.Help+" ("+s.Env+")")
		if s.Kind == kindBool.name {
			flag.NoOptDefVal = "true"
		}
	}
}

// flagValue keeps the text of a flag.
type flagValue struct{ text, kind string }

func (v *flagValue) Set(text string) error {
	v.text = text
	return nil
}

func (v *flagValue) String() string { return v.text }

func (v *flagValue) Type() string {
	if v.kind == kindText.name {
		return "string"
	}
	return v.kind
}

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/config"
)

func (p *program) configCommand() *cobra.Command {
	cmd := command("config", "Show the configuration", "")
	print := command("print", "Print the configuration in effect as YAML, with secrets masked", "")
	p.addConfigFlags(print).runs(func(cfg *config.Config, _ []string) error { return failed(cfg.Print(p.stdout)) })
	reference := command("reference", "Print a table of all settings as Markdown", "")
	reference.RunE = func(*cobra.Command, []string) error {
		_, err := fmt.Fprint(p.stdout, referenceTable())
		return failed(err)
	}
	cmd.AddCommand(print, reference)
	return cmd
}

// referenceTable returns the table of settings that stands in docs/configuration.md.
func referenceTable() string {
	var b strings.Builder
	b.WriteString("| key in the file | environment | flag | default | meaning |\n|---|---|---|---|---|\n")
	code := func(prefix, text string) string {
		if text == "" {
			return ""
		}
		return "`" + prefix + text + "`"
	}
	for _, s := range config.Reference() {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n",
			code("", s.Key), code("", s.Env), code("--", s.Flag), code("", s.Default), s.Help)
	}
	return b.String()
}

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"segment-saasquatch/adapter/config"
)

func (p *program) configCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Show the configuration"}
	var file string
	print := &cobra.Command{
		Use:   "print",
		Short: "Print the configuration in effect as YAML, secrets masked",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(config.Source{File: file, Env: p.env, Flags: cmd.Flags()})
			if err != nil {
				return err
			}
			return failed(cfg.Print(p.stdout))
		},
	}
	print.Flags().StringVar(&file, "config", "", "configuration `file`")
	config.RegisterFlags(print.Flags())
	reference := &cobra.Command{
		Use:   "reference",
		Short: "Print a table of every setting, as Markdown",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(p.stdout, referenceTable())
			return failed(err)
		},
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
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", code("", s.Key), code("", s.Env), code("--", s.Flag), code("", s.Default), s.Help)
	}
	return b.String()
}

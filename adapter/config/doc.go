// Package config turns a YAML file, the environment and command line flags
// into one validated [Config].
//
// Later sources win: defaults, file, environment, flags. [Load] reads and
// merges them and reports everything it cannot read: unknown keys, wrong types,
// keys that stand twice. [Config.Validate] then reports everything that keeps a
// process from serving. Both report all faults at once, up to a hundred, each a
// [*Fault] with its key and a remedy, in a stable order. The two are apart so
// that a command can fill in values of its own, such as those of a sandbox, in
// between.
//
// A value that only a mistake explains is a fault, though it could be taken as it
// stands: a variable that no shell has replaced, a placeholder of the documentation,
// Bearer in front of a token. A value that probably is one, such as a secret in
// quotation marks, is a warning of [Config.Warnings].
//
// One table lists the settings; reading, flags, [Config.Print] and [Reference]
// are all made from it.
//
// Credentials are [adapter.Secret]. No fault, warning or printed configuration
// holds the text of one, and where one stands in the wrong place the faults show
// as little as they can. Two holes remain: a credential that is written as the
// value of another setting, and is valid there, is shown like any value of it; and
// one that consists of letters only and stands as a key with a value is shown as an
// unknown key.
package config

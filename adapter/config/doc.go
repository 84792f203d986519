// Package config turns a YAML file, the environment and command line flags into one validated [Config].
//
// Later sources win: defaults, file, environment, flags. [Load] reads and merges them and reports everything that it
// cannot read: unknown keys, wrong types, repeated keys. [Config.Validate] then reports everything that keeps a
// process from serving. Both report all faults at once, up to a hundred, each a [*Fault] with its key and a remedy, in
// a stable order. They are separate so that a command can fill in its own values in between, for example those of a
// sandbox.
//
// A value is a fault if it is possible but only a mistake explains it: a variable that no shell has replaced, a
// placeholder of the documentation, Bearer before a token. A value that is probably a mistake, such as a secret in
// quotation marks, is a warning of [Config.Warnings].
//
// One table lists the settings. Reading, flags, [Config.Print] and [Reference] are made from it.
//
// Credentials are [adapter.Secret]. No fault, warning or printed configuration contains the text of one. A credential
// in the wrong place shows as little as possible. Two holes remain. A credential that is a valid value of another
// setting is shown as that value. A credential of letters only that is a key with a value is shown as an unknown key.
package config

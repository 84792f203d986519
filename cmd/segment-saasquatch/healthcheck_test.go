package main

import (
	"testing"

	"segment-saasquatch/adapter/config"
)

func TestReadyURL(t *testing.T) {
	for address, want := range map[string]string{
		":8080":          "http://127.0.0.1:8080/readyz",
		"0.0.0.0:80":     "http://127.0.0.1:80/readyz",
		"[::]:80":        "http://[::1]:80/readyz",
		"10.1.2.3:80":    "http://10.1.2.3:80/readyz",
		"adapter:8080":   "http://adapter:8080/readyz",
		"127.0.0.1:8080": "http://127.0.0.1:8080/readyz",
	} {
		cfg := config.Default()
		cfg.ListenAddr = address
		if got, err := readyURL(cfg); err != nil || got != want {
			t.Errorf("%s: got %s (%v), want %s", address, got, err, want)
		}
	}
}

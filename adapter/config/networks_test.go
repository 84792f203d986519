package config

import (
	"strings"
	"testing"
)

func TestNetworks(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "192.0.2.1": "192.0.2.1/32", "2001:db8::1": "2001:db8::1/128",
		"10.0.0.0/8, 2001:db8::/32": "10.0.0.0/8 2001:db8::/32", "127.0.0.1/32": "127.0.0.1/32",
	} {
		c, err := Load(Source{Env: env(map[string]string{"TRUSTED_PROXIES": text})})
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		var got []string
		for _, network := range c.TrustedProxies {
			got = append(got, network.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"proxy.example.com": "write an address or a network", "10.0.0.0/33": "write an address",
		"10.0.0.1/8": "write 10.0.0.0/8",
		"0.0.0.0/0":  "every address", "::/0": "every address", "::ffff:10.0.0.1": "write it as IPv4",
		"fe80::1%eth0": "write an address",
		"10.0.0.0/8,":  "is empty: ", "10.0.0.0/8,x": `element 2 of 2 is "x": write`, "*": "write an address",
		"${PROXIES}": "write an address",
	} {
		_, err := Load(Source{Env: env(map[string]string{"TRUSTED_PROXIES": text})})
		if list := faultsOf(err); len(list) != 1 || list[0].Key != "trusted_proxies" ||
			!strings.Contains(list[0].Problem, want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
	c, err := Load(yamlSource("trusted_proxies: ['10.0.0.0/8', '192.0.2.1']"))
	if err != nil || len(c.TrustedProxies) != 2 {
		t.Errorf("a list: %v, %v", c, err)
	}
}

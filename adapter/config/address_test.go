package config

import (
	"net"
	"net/netip"
	"strings"
	"testing"
)

// TestListenAddress: both addresses have the same form.
func TestListenAddress(t *testing.T) {
	const good = ""
	for text, want := range map[string]string{
		":8080": good, ":0": good, "0.0.0.0:80": good, "127.0.0.1:8080": good, "[::]:8080": good, "[::1]:8080": good,
		"[fe80::1%eth0]:8080": good, "localhost:8080": good, "LOCALHOST:1": good,
		"localhost.:1": good, "my-host.example.com:65535": good, "my_host:1": good, "a:1": good,
		"[127.0.0.1]:80": good,
		":080":           good, "xn--bcher-kva.example:80": good,

		" :8080": "white space", ":8080 ": "white space", "my host:80": "no valid name",
		"127.0.0.1 :80": "no valid name",
		"127.0.0.1: 80": "no port from 0",
		"*:8080":        "write :8080 to listen on every interface", "256.1.1.1:80": "no valid IP address",
		"127.1:80": "no valid IP address", "1:80": "no valid IP address",
		"0x7f.1:80": "no valid IP address", "01.2.3.4:80": "no valid IP address", "1.2.3.4.:80": "no valid IP address",
		"[::g]:80": "no valid IP address", "[1::2::3]:80": "no valid IP address",
		":65536": "no port from 0", ":-1": "no port from 0", ":http": "no port from 0", ":": "no port from 0",
		"127.0.0.1:": "no port from 0", ":99999999999999999999": "no port from 0",
		":+80": "no port from 0", ":0x50": "no port from 0", "：8080": "has no port", "8080": "is only a port: write ",
		"": "has no port", "127.0.0.1": "has no port", "localhost": "has no port", "[::1]": "has no port",
		"http://:8080": "scheme or a path", "https://0.0.0.0:8080/": "scheme or a path",
		"tcp://:8080": "scheme or a path",
		"//:8080":     "scheme or a path", ":8080/segment": "scheme or a path",
		"/run/adapter.sock": "scheme or a path", "unix:/run/adapter.sock": "scheme or a path", "tcp:8080": good,
		// a host may have this name
		"::1:8080": "put an IPv6 address in brackets", "::1": "put an IPv6 address in brackets",
		":::8080": "put an IPv6 address in brackets", "2001:db8::1:8080": "put an IPv6 address in brackets",
		":80,:443": "one address only", "[::1]8080": "not an address", "[::1:8080": "has no port",
		"-a:80": "no valid name",
		"a-:80": "no valid name", "a..b:80": "no valid name", ".a:80": "no valid name",
		"é:80": "no valid name", "a@b:80": "no valid name", "224.0.0.1:80": "of many machines",
		"255.255.255.255:80": "of many machines", "[ff02::1]:80": "of many machines",
		":${PORT}": "${NAME}", ":$PORT": "${NAME}", "$HOST:80": "${NAME}", "%HOST%:80": "${NAME}",
		"<host>:80": "placeholder", `":8080"`: "quotation marks", "':8080'": "quotation marks",
	} {
		for _, key := range []string{"listen_addr", "admin.listen_addr"} {
			c := valid()
			if key == "listen_addr" {
				c.ListenAddr = text
			} else {
				c.ListenAddr, c.Admin.ListenAddr = ":1234", text
			}
			if key == "admin.listen_addr" && text == "" {
				continue // no admin API
			}
			list := faultsOf(c.Validate())
			switch {
			case want == good && len(list) > 0:
				t.Errorf("%s %q: %v", key, text, list)
			case want != good && (len(list) != 1 || list[0].Key != key || !strings.Contains(list[0].Problem, want)):
				t.Errorf("%s %q: %v, want %q", key, text, list, want)
			case want != good && !strings.Contains(list[0].Problem, ": "):
				t.Errorf("%s %q has no remedy: %v", key, text, list)
			}
		}
	}
	for _, key := range []string{"none", ""} {
		c := valid()
		c.Admin.ListenAddr = key
		if err := c.Validate(); err != nil {
			t.Errorf("admin.listen_addr %q: %v", key, err)
		}
	}
}

func TestSameAddress(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		same bool
	}{
		{":1", ":1", true}, {":1", ":2", false}, {":0", ":0", false}, {":01", ":1", true}, {"0.0.0.0:1", "127.0.0.1:1",
			true}, {"[::]:1", "10.0.0.1:1", true}, {"10.0.0.1:1", "10.0.0.2:1", false},
		{"localhost:1", "127.0.0.1:1", true}, {"LOCALHOST:1", "localhost.:1", true},
		{"localhost:1", "10.0.0.1:1", false},
		{"[::1]:1", "127.0.0.1:1", false}, {"[::ffff:127.0.0.1]:1", "127.0.0.1:1", true},
		{"[::1]:1", "[0:0::1]:1", true}, {"a:1", "A:1", true}, {"a:1", "b:1", false}, {"a", "a", false}, {"a:x", "a:x",
			false},
	} {
		if sameAddress(tt.a, tt.b) != tt.same || sameAddress(tt.b, tt.a) != tt.same {
			t.Errorf("%s and %s: want %v", tt.a, tt.b, tt.same)
		}
	}
}

// FuzzListenAddr: an accepted text is a host and a port that the network library reads.
func FuzzListenAddr(f *testing.F) {
	for _, text := range []string{":8080", "*:8080", "256.1.1.1:80", "[::1%lo]:0", "::1:80", " :80", "http://a:1",
		"a.b-c_d:9", "[a]:1", ":", "0x1:1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if listenAddrProblem(text, ":8080") != "" {
			return
		}
		host, port, err := net.SplitHostPort(text)
		if err != nil || strings.TrimSpace(text) != text {
			t.Fatalf("%q passes: %v", text, err)
		}
		if _, err := net.LookupPort("tcp", port); err != nil {
			t.Errorf("%q passes: %v", text, err)
		}
		if _, err := netip.ParseAddr(host); host != "" && err != nil && strings.Trim(host, "0123456789.") == "" {
			t.Errorf("%q passes: %v", text, err)
		}
	})
}

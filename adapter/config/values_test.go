package config

import (
	"math"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	const bad = math.MinInt64
	for text, want := range map[string]time.Duration{
		"0": 0, "0d": 0, "1d": day, "180d": 180 * day, "1.5d": 36 * time.Hour, "1d12h": 36 * time.Hour, "-1d": -day,
		"-1d12h": -36 * time.Hour, "+1d": day,
		"10s": 10 * time.Second, "1h30m": 90 * time.Minute, "500ms": 500 * time.Millisecond, "106751d": 106751 * day,
		"-106751d": -106751 * day,
		"":         bad, "d": bad, "1": bad, "1.5": bad, "1dd": bad, "1d1d": bad, "1hd": bad, "1h1d": bad, "1m2d": bad,
		"1 d": bad, "1d-1h": bad, "1d+1h": bad, "1e3d": bad, "infd": bad,
		"NaNd": bad, "--1d": bad, "1d x": bad, "106752d": bad, "-106752d": bad, "106751d24h": bad, "-106751d24h": bad,
		"9999999999999d": bad, "1days": bad,
	} {
		got, err := parseDuration(text)
		if err != nil {
			got = bad
		}
		if got != want {
			t.Errorf("parseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
		if err == nil {
			if again, err := parseDuration(formatDuration(got)); err != nil || again != got {
				t.Errorf("%v formats as %q", got, formatDuration(got))
			}
		}
	}
	for d, want := range map[time.Duration]string{0: "0s", day: "1d", 36 * time.Hour: "36h",
		90 * time.Minute: "1h30m", time.Minute: "1m", 10 * time.Second: "10s", 61 * time.Second: "1m1s",
		time.Hour + time.Second: "1h0m1s", 10 * time.Hour: "10h", 20 * time.Minute: "20m", -day: "-1d"} {
		if got := formatDuration(d); got != want {
			t.Errorf("formatDuration(%d) = %q, want %q", d, got, want)
		}
	}
}

func TestParseSize(t *testing.T) {
	const bad = math.MinInt64
	for text, want := range map[string]int64{
		"0": 0, "65536": 65536, "64KiB": 65536, "64kib": 65536, "10MiB": 10 << 20, "10 MiB": 10 << 20, "1KB": 1000,
		"1MB": 1e6, "2GiB": 2 << 30, "2GB": 2e9, "-1KB": -1000, "9223372036854775807": math.MaxInt64,
		"": bad, "MiB": bad, "1TiB": bad, "1.5MiB": bad, "1B": bad, "0x10": bad, "1_000": bad,
		"9223372036854775808": bad, "8796093022208MiB": bad, "ten": bad, "10MiBKiB": bad,
	} {
		got, err := parseSize(text)
		if err != nil {
			got = bad
		}
		if got != want {
			t.Errorf("parseSize(%q) = %v, %v, want %v", text, got, err, want)
		}
		if err == nil {
			if again, err := parseSize(formatSize(got)); err != nil || again != got {
				t.Errorf("%d formats as %q", got, formatSize(got))
			}
		}
	}
}

func TestNearest(t *testing.T) {
	known := []string{"tenant_alias", "api_key", "base_url", "rate_limit", "log", "tls"}
	for name, want := range map[string]string{
		"tenant_alais": "tenant_alias", "tenantAlias": "tenant_alias", "TENANT-ALIAS": "tenant_alias",
		"apikey": "api_key", "key": "", "baseurl": "base_url", "logs": "log", "lgo": "log",
		"": "", "xyz": "", "日本": "", "a_name_that_is_much_longer_than_any_setting": "",
	} {
		if got := nearest(name, known); got != want {
			t.Errorf("nearest(%q) = %q, want %q", name, got, want)
		}
	}
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"", "ab", 2}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"ca", "abc", 3}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}

func TestChecks(t *testing.T) {
	tests := []struct {
		name      string
		check     func(string) string
		good, bad []string
	}{
		{"path", pathProblem,
			[]string{"", "/", "/segment", "/segment/live", "/a.b_c~d-e", "/healthz/x", "/Segment"},
			[]string{"segment", "/segment/", "//", "/a//b", "/a?b", "/a#b", "/a b", "/:a", "/*a", "/a/../b", "/.",
				"/a/..", "/%41", "/é", "/a\n", "/healthz", "/readyz", "/{a}"}},
		{"base_url", baseURLProblem,
			[]string{"", "https://app.referralsaasquatch.com", "https://h:8443", "http://localhost:1",
				"http://LOCALHOST", "http://127.0.0.1:80", "http://127.9.9.9", "http://[::1]:80",
				"https://[2001:db8::1]", "HTTPS://h"},
			[]string{"app.referralsaasquatch.com", "https://", "https:h", "ftp://h", "http://h", "http://10.0.0.1",
				"http://128.0.0.1", "http://localhost.example.com", "http://127.0.0.1.example.com", "https://h/",
				"https://h/api", "https://h?x", "https://h#x", "https://u@h", "https://u:p@h", "https://h:",
				"https://h:0", "https://h:65536", "https://h:x", "https://a b", "https://a\"b", "https://[::1",
				"https://h\n", "://h", "https://-h", "https://256.1.1.1", "https://127.1", "https://h..i",
				"https://224.0.0.1", "https://${HOST}", "https://$HOST", "https://<tenant>.example.com", "https://…",
				`"https://h"`, " https://h"}},
		{"tenant_alias", aliasProblem, []string{"", "test_abc", "aboih12h16t"},
			[]string{"a b", "a/b", "LIVE_x", "TEST_x", "a\n", "../x", "${ALIAS}", "<alias>", "changeme"}},
		{"user_name", userNameProblem, []string{"", "AC123"},
			[]string{"AC123:token", "$SID", "${SID}", "'AC123'", "AC123 ", "<sid>"}},
		{"header", headerNameProblem, []string{"", "X-My-Secret"},
			[]string{"X My", "X:", "X-Ä", "X\n", "authorization", "X-SIGNATURE"}},
	}
	for _, tt := range tests {
		for _, text := range tt.good {
			if problem := tt.check(text); problem != "" {
				t.Errorf("%s %q: %s", tt.name, text, problem)
			}
		}
		for _, text := range tt.bad {
			if tt.check(text) == "" {
				t.Errorf("%s %q: no problem", tt.name, text)
			}
		}
	}
}

package httpserver

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestLoopbackHosts(t *testing.T) {
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	loopback, public := net.IPv4(127, 0, 0, 1), net.IPv4(192, 0, 2, 1)
	for _, test := range []struct {
		ip   net.IP
		host string
		want int
	}{
		{loopback, "127.0.0.1:9090", http.StatusOK},
		{loopback, "127.0.0.1", http.StatusOK},
		{loopback, "127.9.9.9:1", http.StatusOK},
		{loopback, "localhost:9090", http.StatusOK},
		{loopback, "LocalHost.", http.StatusOK},
		{loopback, "admin.localhost:9090", http.StatusOK},
		{loopback, "[::1]:9090", http.StatusOK},
		{loopback, "[::1]", http.StatusOK},
		{loopback, "[::ffff:127.0.0.1]:9090", http.StatusOK},
		{loopback, "", http.StatusOK},
		{net.IPv6loopback, "localhost", http.StatusOK},
		{loopback, "example.com", http.StatusMisdirectedRequest},
		{loopback, "example.com:9090", http.StatusMisdirectedRequest},
		{loopback, "localhost.example.com", http.StatusMisdirectedRequest},
		{loopback, "notlocalhost", http.StatusMisdirectedRequest},
		{loopback, "127.0.0.1.example.com", http.StatusMisdirectedRequest},
		{loopback, "127.0.0.1@example.com", http.StatusMisdirectedRequest},
		{loopback, "192.0.2.1:9090", http.StatusMisdirectedRequest},
		{loopback, "0.0.0.0:9090", http.StatusMisdirectedRequest},
		{loopback, "2130706433", http.StatusMisdirectedRequest},
		{net.IPv6loopback, "example.com", http.StatusMisdirectedRequest},
		{public, "example.com", http.StatusOK},
		{net.IPv4zero, "example.com", http.StatusOK},
	} {
		request := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		request.Host = test.host
		answer := httptest.NewRecorder()
		LoopbackHosts(&net.TCPAddr{IP: test.ip, Port: 9090}, next).ServeHTTP(answer, request)
		if answer.Code != test.want {
			t.Errorf("%v, host %q: got %d, want %d", test.ip, test.host, answer.Code, test.want)
		}
	}
}

package httpserver

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// LoopbackHosts returns a handler for a listener's address that answers 421 to a request
// for another host, if that address is on the loopback interface. Otherwise a page that
// an operator visits could read from it: its name is made to resolve to 127.0.0.1 (DNS
// rebinding). It answers localhost, names below it, and literal loopback addresses.
func LoopbackHosts(address net.Addr, next http.Handler) http.Handler {
	tcp, ok := address.(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopbackHost(r.Host) {
			http.Error(w, "this address answers loopback hosts only: use http://"+address.String(), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLoopbackHost reports whether the host of a request is on the loopback interface. A
// client of HTTP/1.0 names none, and is no browser.
func isLoopbackHost(host string) bool {
	if host == "" {
		return true
	}
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.Unmap().IsLoopback()
}

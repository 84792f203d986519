package httpserver

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// LoopbackHosts protects a listener on the loopback interface from DNS rebinding. In this attack, a page that an
// operator visits reads from the listener, because the page's name resolves to 127.0.0.1. The handler answers 421 to a
// request for a host other than localhost, names below it, and literal loopback addresses. For a listener on another
// address it returns next.
func LoopbackHosts(address net.Addr, next http.Handler) http.Handler {
	tcp, ok := address.(*net.TCPAddr)
	if !ok || !tcp.IP.IsLoopback() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isLoopbackHost(r.Host) {
			http.Error(w, "this address answers loopback hosts only: use http://"+address.String(),
				http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// isLoopbackHost reports whether the host of a request is on the loopback interface. An HTTP/1.0 client names no host,
// and is no browser.
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

package saasquatch

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// finalOnly is a transport that does not read the body of an answer with a status below 200. No request of ours asks
// for another protocol, but a proxy may still answer 101. net/http then returns the bare connection, and neither the
// context nor a timeout ends a read from it.
type finalOnly struct{ http.RoundTripper }

// RoundTrip makes a request. An answer with a status below 200 gets an empty body, and its connection is closed.
func (t finalOnly) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := t.RoundTripper.RoundTrip(request)
	if err == nil && answer.StatusCode < http.StatusOK {
		answer.Body.Close()
		answer.Body = http.NoBody
	}
	return answer, err
}

// newTransport returns a transport that keeps as many connections open as requests may be in flight, so that no
// request opens and closes one where the server speaks HTTP/1.1.
func newTransport(concurrency int, config *tls.Config) http.RoundTripper {
	dialer := &net.Dialer{Timeout: 5 * time.Second, KeepAlive: 30 * time.Second}
	return finalOnly{&http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		OnProxyConnectResponse: refusalOf,
		DialContext:            dialer.DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    5 * time.Second,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           concurrency,
		MaxIdleConnsPerHost:    concurrency,
		MaxConnsPerHost:        concurrency,
		IdleConnTimeout:        60 * time.Second,
		ExpectContinueTimeout:  time.Second,
		DisableCompression:     true, // answers are small
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}}
}

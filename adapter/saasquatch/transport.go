package saasquatch

import (
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// finalOnly is a transport that reads no answer with a status below 200. No request of
// ours asks for another protocol, but a proxy may answer 101 all the same: net/http then
// hands over the bare connection, and neither the end of the context nor a timeout ends
// a read from it.
type finalOnly struct{ http.RoundTripper }

// RoundTrip makes a request. Of an answer with a status below 200 the body is empty, and
// its connection is closed.
func (t finalOnly) RoundTrip(request *http.Request) (*http.Response, error) {
	answer, err := t.RoundTripper.RoundTrip(request)
	if err == nil && answer.StatusCode < http.StatusOK {
		answer.Body.Close()
		answer.Body = http.NoBody
	}
	return answer, err
}

// newTransport keeps as many connections open as requests may be under way, so
// that none is opened and closed for a request where the server speaks HTTP/1.1.
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

package adapter

// Cause says why a request to SaaSquatch got no HTTP answer. The values are a closed set
// and show in the log.
type Cause string

// The causes. CauseUnknown stands for every other error.
const (
	CauseUnknown            Cause = "unknown"
	CauseUnknownAuthority   Cause = "unknown_authority"
	CauseCertificateExpired Cause = "certificate_expired"
	CauseCertificateHost    Cause = "certificate_host"
	CauseCertificateInvalid Cause = "certificate_invalid"
	CauseNotTLS             Cause = "not_tls"
	CauseTLSRefused         Cause = "tls_refused"
	CauseTLSTimeout         Cause = "tls_timeout"
	CauseNoSuchHost         Cause = "no_such_host"
	CauseDNSFailed          Cause = "dns_failed"
	CauseProxyUnreachable   Cause = "proxy_unreachable"
	CauseProxyRefused       Cause = "proxy_refused"
	CauseConnectionRefused  Cause = "connection_refused"
	CauseConnectTimeout     Cause = "connect_timeout"
	CauseConnectionClosed   Cause = "connection_closed"
	CauseAnswerTimeout      Cause = "answer_timeout"
	CauseNoRoute            Cause = "no_route"
	CauseForbidden          Cause = "connection_forbidden"
	CauseNoLocalPort        Cause = "no_local_port"
	CauseTooManyFiles       Cause = "too_many_open_files"
)

// causes has the remedy for each cause, in words that follow the error. configured is true if no
// retry helps until an operator changes a setting or the machine.
var causes = map[Cause]struct {
	configured bool
	remedy     string
}{
	CauseUnknown: {false, ""},
	CauseUnknownAuthority: {true, "install the CA certificates of the system (the package ca-certificates), " +
		"or name a file with the authority of the host or proxy in SSL_CERT_FILE"},
	CauseCertificateExpired: {true, "set the clock of this machine; if it is right, the host has to " +
		"renew its certificate"},
	CauseCertificateHost: {true, "correct the host of saasquatch.base_url, or what DNS or a proxy makes of it"},
	CauseCertificateInvalid: {true, "look at the certificate of the host, or of the proxy that answers " +
		"in its place"},
	CauseNotTLS: {true, "correct the scheme or the port of saasquatch.base_url: what " +
		"answers there does not speak TLS"},
	CauseTLSRefused: {true, "look at saasquatch.base_url, and at proxies on the way: the host " +
		"refuses the TLS handshake"},
	CauseTLSTimeout: {false, "look at firewalls and proxies on the way: the connection was " +
		"made, but TLS was not"},
	CauseNoSuchHost: {true, "correct the host of saasquatch.base_url, or the DNS of this machine"},
	CauseDNSFailed: {false, "look at the DNS servers of this machine (/etc/resolv.conf) and " +
		"the way to them"},
	CauseProxyUnreachable: {true, "correct HTTPS_PROXY or HTTP_PROXY, or start the proxy"},
	CauseProxyRefused:     {true, "let the proxy of HTTPS_PROXY allow the host, or give it its credentials"},
	CauseConnectionRefused: {false, "look at the host and the port of saasquatch.base_url: nothing " +
		"listens there"},
	CauseConnectTimeout:   {false, "look at firewalls on the way, and whether the machine needs HTTPS_PROXY"},
	CauseConnectionClosed: {false, "if it lasts, look at proxies and firewalls on the way"},
	CauseAnswerTimeout: {false, "if it lasts, raise saasquatch.attempt_timeout or lower " +
		"saasquatch.concurrency"},
	CauseNoRoute: {false, "look at the network of this machine"},
	CauseForbidden: {true, "look at the firewall and the sandboxing of this machine " +
		"(iptables, seccomp, network policies)"},
	CauseNoLocalPort: {true, "lower saasquatch.concurrency, or widen the range of local ports " +
		"of this machine"},
	CauseTooManyFiles: {true, "raise the limit of open files (ulimit -n, LimitNOFILE)"},
}

// Configured reports whether no request gets an answer until a setting or the machine
// changes.
func (c Cause) Configured() bool { return causes[c].configured }

// Remedy says what to do; empty if that is unknown.
func (c Cause) Remedy() string { return causes[c].remedy }

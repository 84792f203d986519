package archive_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"segment-saasquatch/adapter/archive"
)

// childLocation is the variable that makes the test binary a program that reads a location.
const childLocation = "ARCHIVE_TEST_LOCATION"

// TestChild is that program. It has its own environment, and Go reads its proxy and its roots
// of trust once.
func TestChild(t *testing.T) {
	location := os.Getenv(childLocation)
	if location == "" {
		t.Skip("it is started by TestCredentials")
	}
	for key, lines := range readAll(t, open(t, archive.Options{}, location), archive.ReadOptions{}).lines {
		fmt.Printf("read %s: %q\n", key, lines)
	}
}

// world stands for all servers of the clouds. It is a proxy that answers for every host.
type world struct {
	t       *testing.T
	address string
	roots   string // a file with the authority that its certificate is from

	mu     sync.Mutex
	hosts  map[string]bool // that were asked
	grants []string        // what tokens were asked for with
	tokens map[string]bool // what came with requests for objects
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, roots: filepath.Join(t.TempDir(), "roots.pem")}
	server := httptest.NewUnstartedServer(w)
	server.TLS = &tls.Config{Certificates: []tls.Certificate{w.certificate()}}
	server.StartTLS()
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			w.ServeHTTP(rw, r) // of a URL without TLS
			return
		}
		to, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Error(err)
			return
		}
		defer to.Close()
		from, _, err := http.NewResponseController(rw).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer from.Close()
		_, _ = io.WriteString(from, "HTTP/1.1 200 OK\r\n\r\n") // a client that has gone reads nothing
		go func() {
			_, _ = io.Copy(to, from) // ends with either connection
			_ = to.Close()
		}()
		_, _ = io.Copy(from, to)
	}))
	t.Cleanup(func() {
		proxy.CloseClientConnections()
		proxy.Close()
		server.CloseClientConnections()
		server.Close()
	})
	w.address = proxy.URL
	return w
}

// certificate makes a certificate for the hosts of the clouds, and writes it to roots.
func (w *world) certificate() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	made := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		DNSNames: []string{
			"*.googleapis.com", "storage.other.example", "login.microsoftonline.com", "login.microsoft.com",
			"*.blob.core.windows.net",
			"*.amazonaws.com", "*.us-east-1.amazonaws.com", "*.s3.us-east-1.amazonaws.com",
			"*.s3-accelerate.amazonaws.com",
			"*.s3.dualstack.eu-west-1.amazonaws.com", "*.s3-fips.us-east-1.amazonaws.com", "*.store.example",
			"*.eu.store.example",
		},
	}
	signed, err := x509.CreateCertificate(rand.Reader, made, made, key.Public(), key)
	if err != nil {
		w.t.Fatal(err)
	}
	write(w.t, w.roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed}))
	return tls.Certificate{Certificate: [][]byte{signed}, PrivateKey: key}
}

func (w *world) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hosts[r.Host] = true
	query := r.URL.Query()
	token := func(value string) {
		if err := r.ParseForm(); err != nil {
			w.t.Error(err)
		}
		w.grants = append(w.grants, r.Form.Get("grant_type")+r.Form.Get("Action"))
		rw.Header().Set("Content-Type", "application/json") // AWS's is not looked at
		_, _ = io.WriteString(rw, value)                    // a client that has gone reads nothing
	}
	const one = `{"token_type":"Bearer","expires_in":3600,"access_token":"of %s",` +
		`"issued_token_type":"urn:ietf:params:oauth:token-type:access_token"}`
	switch {
	case strings.Contains(r.URL.Path, "generateAccessToken"):
		w.grants = append(w.grants, "impersonate by "+r.Header.Get("Authorization"))
		_, _ = fmt.Fprintf(rw, `{"accessToken":"of another","expireTime":%q}`,
			time.Now().Add(time.Hour).Format(time.RFC3339))
	case r.Host == "oauth2.googleapis.com", r.Host == "sts.googleapis.com":
		token(fmt.Sprintf(one, r.Host))
	case strings.HasSuffix(r.URL.Path, "/discovery/instance"):
		const at = "https://login.microsoftonline.com/t/v2.0/.well-known/openid-configuration"
		_, _ = fmt.Fprintf(rw, `{"tenant_discovery_endpoint":%q,"metadata":[]}`, at)
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		const at = "https://login.microsoftonline.com/t"
		_, _ = fmt.Fprintf(rw, `{"issuer":"%[1]s/v2.0","authorization_endpoint":"%[1]s/a",`+
			`"token_endpoint":"%[1]s/token"}`, at)
	case r.Host == "login.microsoftonline.com":
		token(fmt.Sprintf(one, r.Host))
	case strings.HasPrefix(r.Host, "sts."):
		const role = `<%[1]sResponse><%[1]sResult><Credentials>` +
			`<AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>s</SecretAccessKey>` +
			`<SessionToken>session</SessionToken><Expiration>%[2]s</Expiration>` +
			`</Credentials></%[1]sResult></%[1]sResponse>`
		if err := r.ParseForm(); err != nil {
			w.t.Error(err)
		}
		token(fmt.Sprintf(role, r.Form.Get("Action"), time.Now().Add(time.Hour).Format(time.RFC3339)))
	default:
		authorization, _, _ := strings.Cut(r.Header.Get("Authorization"), "/") // a key without its scope
		authorization, _, _ = strings.Cut(authorization, ":")                  // or its signature
		w.tokens[authorization+query.Get("sig")] = true
		w.bucket(rw, r)
	}
}

// bucket answers for a bucket with one object, in the form of each cloud.
func (w *world) bucket(rw http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	listing, here := "", strings.HasPrefix("f/1.json", query.Get("prefix"))
	const modified = "Sun, 01 Nov 2026 00:00:00 GMT"
	switch {
	case query.Has("list-type") && !here:
		listing = `<ListBucketResult/>`
	case query.Has("list-type"):
		listing = `<ListBucketResult><Contents><Key>f/1.json</Key><ETag>"e"</ETag><Size>2</Size>` +
			`<LastModified>2026-11-01T00:00:00Z</LastModified></Contents></ListBucketResult>`
	case query.Get("comp") == "list" && !here:
		listing = `<EnumerationResults><Blobs/></EnumerationResults>`
	case query.Get("comp") == "list":
		listing = `<EnumerationResults><Blobs><Blob><Name>f</Name><Properties><ResourceType>directory</ResourceType>` +
			`<Content-Length>0</Content-Length><Last-Modified>` + modified +
			`</Last-Modified></Properties></Blob><Blob><Name>f/1.json</Name><Properties><Etag>e</Etag>` +
			`<Content-Length>2</Content-Length><Last-Modified>` + modified +
			`</Last-Modified></Properties></Blob></Blobs></EnumerationResults>`
	case strings.HasSuffix(r.URL.Path, "/o") && !here:
		listing = "{}"
	case strings.HasSuffix(r.URL.Path, "/o"):
		listing = `{"items":[{"name":"f/1.json","generation":"7","size":"2","updated":"2026-11-01T00:00:00Z"}]}`
	}
	if listing != "" {
		_, _ = io.WriteString(rw, listing) // a client that has gone reads nothing
		return
	}
	rw.Header().Set("ETag", `"e"`)
	rw.Header().Set("X-Goog-Generation", "7")
	rw.Header().Set("Last-Modified", modified)
	_, _ = io.WriteString(rw, "a\n")
}

// read reads a location in a child with an environment.
func (w *world) read(location string, env map[string]string) string {
	w.mu.Lock()
	w.hosts, w.grants, w.tokens = make(map[string]bool), nil, make(map[string]bool)
	w.mu.Unlock()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run", "^TestChild$")
	child.Dir = w.t.TempDir()
	child.Env = []string{
		childLocation + "=" + location, "GORACE=" + os.Getenv("GORACE"), "HOME=" + child.Dir, "PATH=",
		"SSL_CERT_FILE=" + w.roots,
		"HTTPS_PROXY=" + w.address, "HTTP_PROXY=" + w.address, "AWS_EC2_METADATA_DISABLED=true",
	}
	for name, value := range env {
		child.Env = append(child.Env, name+"="+value)
	}
	var out bytes.Buffer
	child.Stdout, child.Stderr = &out, &out
	_ = child.Run() // what it prints tells
	return out.String()
}

// TestCredentials has each cloud's own chain find credentials of each kind, and each parameter
// that says which server is asked.
func TestCredentials(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	file := func(name string, content any) string {
		text, isText := content.(string)
		if !isText {
			made, err := json.Marshal(content)
			if err != nil {
				t.Fatal(err)
			}
			text = string(made)
		}
		return write(t, filepath.Join(dir, name), []byte(text))
	}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(private)}))
	type object = map[string]any
	user := object{"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r"}
	const iam = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@p:generateAccessToken"
	jwt := file("jwt", "a.b.c")
	static := func(more ...string) map[string]string {
		env := map[string]string{"AWS_ACCESS_KEY_ID": "AKIASTATIC", "AWS_SECRET_ACCESS_KEY": "s",
			"AWS_REGION": "us-east-1"}
		for i := 0; i < len(more); i += 2 {
			env[more[i]] = more[i+1]
		}
		return env
	}
	adc := func(name string, content any) map[string]string {
		return map[string]string{"GOOGLE_APPLICATION_CREDENTIALS": file(name, content)}
	}
	azure := func(more ...string) map[string]string {
		env := map[string]string{"AZURE_STORAGE_ACCOUNT": "acc", "AZURE_TENANT_ID": "t", "AZURE_CLIENT_ID": "c"}
		for i := 0; i < len(more); i += 2 {
			env[more[i]] = more[i+1]
		}
		return env
	}
	const awsKey, roleKey = "AWS4-HMAC-SHA256 Credential=AKIASTATIC", "AWS4-HMAC-SHA256 Credential=ASIAROLE"
	const googleHost, s3Host, azureHost = "storage.googleapis.com", "logs.s3.us-east-1.amazonaws.com",
		"acc.blob.core.windows.net"
	for name, c := range map[string]struct {
		at, host, token string
		grants          []string
		env             map[string]string
	}{
		"Google service account": {"gs://logs/f", googleHost, "Bearer of oauth2.googleapis.com",
			[]string{"urn:ietf:params:oauth:grant-type:jwt-bearer"}, adc("service", object{
				"type": "service_account", "client_email": "a@p", "private_key": key,
				"token_uri": "https://oauth2.googleapis.com/token",
			})},
		"Google user": {"gs://logs/f", googleHost, "Bearer of oauth2.googleapis.com", []string{"refresh_token"},
			adc("user", user)},
		"Google workload identity": {"gs://logs/f", googleHost, "Bearer of another",
			[]string{"urn:ietf:params:oauth:grant-type:token-exchange",
				"impersonate by Bearer of sts.googleapis.com"}, adc("workload", object{
				"type": "external_account", "audience": "//iam.googleapis.com/x",
				"subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
				"token_url":          "https://sts.googleapis.com/v1/token", "service_account_impersonation_url": iam,
				"credential_source": object{"file": jwt},
			})},
		"Google impersonation": {"gs://logs/f", googleHost, "Bearer of another",
			[]string{"refresh_token", "impersonate by Bearer of oauth2.googleapis.com"}, adc("impersonated", object{
				"type": "impersonated_service_account", "service_account_impersonation_url": iam,
				"source_credentials": user,
			})},
		"Google anonymous":     {at: "gs://logs/f?anonymous=true", host: googleHost},
		"Google without a key": {at: "gs://logs/f?access_id=-", host: googleHost},
		"Google other universe": {at: "gs://logs/f?anonymous=true&universe_domain=other.example",
			host: "storage.other.example"},

		"S3 key": {"s3://logs/f", s3Host, awsKey, nil, static()},
		"S3 profile": {"s3://logs/f?profile=p", s3Host, awsKey, nil,
			map[string]string{"AWS_CONFIG_FILE": file("aws",
				"[profile p]\nregion=us-east-1\naws_access_key_id=AKIASTATIC\naws_secret_access_key=s\n")}},
		"S3 role":      {"s3://logs/f?role=arn:aws:iam::1:role/r", s3Host, roleKey, []string{"AssumeRole"}, static()},
		"S3 anonymous": {"s3://logs/f?anonymous=true&region=us-east-1", s3Host, "", nil, nil},
		"S3 workload identity": {"s3://logs/f", s3Host, roleKey, []string{"AssumeRoleWithWebIdentity"},
			map[string]string{
				"AWS_REGION": "us-east-1", "AWS_ROLE_ARN": "arn:aws:iam::1:role/r",
				"AWS_WEB_IDENTITY_TOKEN_FILE": jwt,
			}},
		"S3 dual stack": {"s3://logs/f?region=eu-west-1&dualstack=true",
			"logs.s3.dualstack.eu-west-1.amazonaws.com", awsKey, nil, static()},
		"S3 FIPS": {"s3://logs/f?fips=true", "logs.s3-fips.us-east-1.amazonaws.com", awsKey, nil, static()},
		"S3 accelerated": {"s3://logs/f?accelerate=true", "logs.s3-accelerate.amazonaws.com", awsKey, nil,
			static()},
		"S3 without HTTPS": {"s3://logs/f?disable_https=true", s3Host, awsKey, nil, static()},
		"S3 path":          {"s3://logs/f?use_path_style=true", "s3.us-east-1.amazonaws.com", awsKey, nil, static()},
		"S3 endpoint": {"s3://logs/f?endpoint=https://eu.store.example", "logs.eu.store.example", awsKey,
			nil, static()},
		"S3 endpoint, path": {"s3://logs/f?endpoint=https://eu.store.example&s3ForcePathStyle=1",
			"eu.store.example", awsKey, nil, static()},
		"S3 endpoint, host": {"s3://logs/f?endpoint=https://eu.store.example&hostname_immutable=true",
			"eu.store.example", awsKey, nil,
			static("AWS_USE_FIPS_ENDPOINT", "true", "AWS_USE_DUALSTACK_ENDPOINT", "true")},
		"S3 endpoint of the environment": {"s3://logs/f", "logs.eu.store.example", awsKey, nil,
			static("AWS_ENDPOINT_URL_S3", "https://eu.store.example")},
		"S3, what writing needs": {"s3://logs/f?ssetype=aws:kms&kmskeyid=k&awssdk=v2&" +
			"rate_limiter_capacity=5&response_checksum_validation=when_required", s3Host, awsKey, nil, static()},

		"Azure client secret": {"azblob://logs/f", azureHost, "Bearer of login.microsoftonline.com",
			[]string{"client_credentials"}, azure("AZURE_CLIENT_SECRET", "s")},
		"Azure workload identity": {"azblob://logs/f", azureHost, "Bearer of login.microsoftonline.com",
			[]string{"client_credentials"}, azure("AZURE_FEDERATED_TOKEN_FILE", jwt)},
		"Azure key": {"azblob://logs/f", azureHost, "SharedKey acc", nil,
			azure("AZURE_STORAGE_KEY", "a2V5", "AZURE_STORAGE_SAS_TOKEN", "sig=other")},
		"Azure token": {"azblob://logs/f", azureHost, "signature", nil,
			azure("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=signature")},
		"Azure connection string": {"azblob://logs/f", azureHost, "SharedKey acc", nil,
			map[string]string{"AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=https;" +
				"AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.windows.net"}},
		"Azure other account": {"azblob://logs/f?storage_account=other", "other.blob.core.windows.net",
			"SharedKey acc", nil, azure("AZURE_STORAGE_KEY", "a2V5")},
		"Azure in a CDN": {"azblob://logs/f?domain=cdn.store.example&cdn=true", "cdn.store.example",
			"SharedKey acc", nil, azure("AZURE_STORAGE_KEY", "a2V5")},
		"Azure in an emulator": {"azblob://logs/f?domain=emulator.store.example&localemu=true&protocol=http",
			"emulator.store.example", "SharedKey acc", nil, azure("AZURE_STORAGE_KEY", "a2V5")},
	} {
		t.Run(name, func(t *testing.T) {
			out := w.read(c.at, c.env)
			scheme, _, _ := strings.Cut(c.at, ":")
			if !strings.Contains(out, fmt.Sprintf("read %s://logs/f/1.json: %q\n", scheme, []string{"a"})) {
				t.Errorf("%s", out)
			}
			if !w.hosts[c.host] {
				t.Errorf("asked %v, want %s", slices.Sorted(maps.Keys(w.hosts)), c.host)
			}
			tokens := slices.Sorted(maps.Keys(w.tokens))
			if len(tokens) != 1 || !strings.HasPrefix(tokens[0], c.token) || (c.token == "") != (tokens[0] == "") {
				t.Errorf("authorized by %q, want %q", tokens, c.token)
			}
			if !slices.Equal(w.grants, c.grants) {
				t.Errorf("tokens by %q, want %q", w.grants, c.grants)
			}
		})
	}
}

package archivetest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

const (
	// AccessKey identifies the account of an S3 server.
	AccessKey = "archivetest"
	// SecretKey is its secret.
	SecretKey = "archivetest-secret"
	region    = "us-east-1"
	// AzureAccount is the account that Azurite has.
	AzureAccount = "devstoreaccount1"
	// AzureKey is its documented key.
	AzureKey = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
	// startTimeout bounds the start of a server.
	startTimeout = 20 * time.Second
)

// Server is a server of buckets: a real one, or a stub of S3.
type Server struct {
	// Scheme is the scheme of its locations: s3, gs or azblob.
	Scheme string
	// Endpoint is its base URL.
	Endpoint string
	put      func(ctx context.Context, bucket, key string, content []byte, o Stored) error
}

// Stored describes the content of an object.
type Stored struct{ ContentType, ContentEncoding string }

// Text is the description that Segment stores with its objects: text in gzip.
var Text = Stored{ContentType: "text/plain", ContentEncoding: "gzip"}

// StartS3 starts a Versity S3 Gateway, an S3 server over a directory, with empty buckets of
// those names, and stops it with the test. It sets the environment variables with which AWS's
// own chain finds the credentials; a program that the test starts inherits them.
//
// The gateway is the program that VERSITYGW names, otherwise versitygw in PATH. If there is
// none the test is skipped, or fails where CI=true.
func StartS3(t testing.TB, buckets ...string) *Server {
	t.Helper()
	program := find(t, "S3", "VERSITYGW", "versitygw", "go install github.com/versity/versitygw/cmd/versitygw@v1.8.0")
	dir := t.TempDir()
	for _, bucket := range buckets {
		if err := os.MkdirAll(filepath.Join(dir, "data", bucket), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "meta"), 0o755); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	// Not every file system has extended attributes, so metadata goes to a sidecar.
	start(t, address, exec.Command(program, "--port", address, "--access", AccessKey, "--secret", SecretKey,
		"--region", region, "--quiet", "--keep-alive",
		"posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data")))
	setCredentials(t)
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String("http://" + address), Region: region, UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: AccessKey, SecretAccessKey: SecretKey}, nil
		}),
	})
	return &Server{Scheme: "s3", Endpoint: "http://" + address,
		put: func(ctx context.Context, bucket, key string, content []byte, o Stored) error {
			_, err := client.PutObject(ctx, &s3.PutObjectInput{
				Bucket: &bucket, Key: &key, Body: bytes.NewReader(content),
				ContentType: pointer(o.ContentType), ContentEncoding: pointer(o.ContentEncoding),
			})
			return err
		}}
}

// setCredentials sets the environment variables of AWS's own chain.
func setCredentials(t testing.TB) {
	t.Setenv("AWS_ACCESS_KEY_ID", AccessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", SecretKey)
	t.Setenv("AWS_REGION", region)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

// StartGoogle starts a fake-gcs-server, which has the API of Google Cloud Storage, with empty
// buckets of those names, and stops it with the test. It sets STORAGE_EMULATOR_HOST.
//
// The server is the program that FAKE_GCS names, otherwise fake-gcs-server in PATH. If there is
// none the test is skipped, or fails where CI=true.
func StartGoogle(t testing.TB, buckets ...string) *Server {
	t.Helper()
	program := find(t, "Google Cloud Storage", "FAKE_GCS", "fake-gcs-server",
		"go install github.com/fsouza/fake-gcs-server@v1.56.1")
	address := freeAddress(t)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	start(t, address, exec.Command(program, "-scheme", "http", "-host", "127.0.0.1", "-port", port,
		"-public-host", address, "-backend", "memory", "-log-level", "error"))
	s := &Server{Scheme: "gs", Endpoint: "http://" + address}
	for _, bucket := range buckets {
		named, err := json.Marshal(map[string]string{"name": bucket})
		if err != nil {
			t.Fatal(err)
		}
		if err := post(t.Context(), s.Endpoint+"/storage/v1/b", "application/json", named); err != nil {
			t.Fatal(err)
		}
	}
	s.put = func(ctx context.Context, bucket, key string, content []byte, o Stored) error {
		query := url.Values{"uploadType": {"media"}, "name": {key}, "contentEncoding": {o.ContentEncoding}}
		at := "http://" + address + "/upload/storage/v1/b/" + url.PathEscape(bucket) + "/o?" + query.Encode()
		return post(ctx, at, o.ContentType, content)
	}
	s.UseEnvironment(t)
	return s
}

func post(ctx context.Context, url, contentType string, content []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(content))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", contentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New("POST " + url + ": " + response.Status)
	}
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// StartAzure starts Azurite, Microsoft's emulator of Azure Storage, with empty containers of
// those names, and stops it with the test. It sets AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY.
//
// The emulator is the program that AZURITE names, otherwise azurite-blob in PATH. If there is
// none the test is skipped, or fails where CI=true.
func StartAzure(t testing.TB, containers ...string) *Server {
	t.Helper()
	program := find(t, "Azure Blob Storage", "AZURITE", "azurite-blob", "npm install --global azurite@3.35.0")
	address := freeAddress(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	start(t, address, exec.Command(program, "--blobHost", host, "--blobPort", port,
		"--inMemoryPersistence", "--silent", "--skipApiVersionCheck", "--disableTelemetry"))
	t.Setenv("AZURE_STORAGE_ACCOUNT", AzureAccount)
	t.Setenv("AZURE_STORAGE_KEY", AzureKey)
	key, err := azblob.NewSharedKeyCredential(AzureAccount, AzureKey)
	if err != nil {
		t.Fatal(err)
	}
	clients := make(map[string]*container.Client)
	for _, name := range containers {
		at := "http://" + address + "/" + AzureAccount + "/" + name
		if clients[name], err = container.NewClientWithSharedKeyCredential(at, key, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := clients[name].Create(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}
	return &Server{Scheme: "azblob", Endpoint: "http://" + address,
		put: func(ctx context.Context, bucket, key string, content []byte, o Stored) error {
			_, err := clients[bucket].NewBlockBlobClient(key).UploadBuffer(ctx, content, &azblob.UploadBufferOptions{
				HTTPHeaders: &blob.HTTPHeaders{
					BlobContentType: pointer(o.ContentType), BlobContentEncoding: pointer(o.ContentEncoding),
				},
			})
			return err
		}}
}

func pointer(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}

// find returns the program that a variable names, otherwise the one in PATH.
func find(t testing.TB, server, variable, name, remedy string) string {
	t.Helper()
	if program := os.Getenv(variable); program != "" {
		return program
	}
	program, err := exec.LookPath(name)
	if err == nil {
		return program
	}
	says := fmt.Sprintf("start %s with: %s, and have %s in PATH or name it in %s", server, remedy, name, variable)
	if os.Getenv("CI") == "true" {
		t.Fatal(says)
	}
	t.Skip("SKIP: " + says)
	return ""
}

// start starts a server, waits until it takes connections, and stops it with the test.
func start(t testing.TB, address string, command *exec.Cmd) {
	t.Helper()
	command.Dir = t.TempDir()
	command.Stdout, command.Stderr = io.Discard, t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var failure error
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		failure = command.Wait()
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill() // fails if it has exited
		<-exited
	})
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if connection, err := net.Dial("tcp", address); err == nil {
			_ = connection.Close()
			return
		}
		select {
		case <-exited:
			t.Fatalf("%s has exited: %v", command.Path, failure)
		case <-timeout.C:
			t.Fatalf("%s takes no connections on %s after %v", command.Path, address, startTimeout)
		case <-tick.C:
		}
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return listener.Addr().String()
}

// UseEnvironment sets the variable that names the server, for a cloud whose URLs cannot.
func (s *Server) UseEnvironment(t testing.TB) {
	if s.Scheme == "gs" {
		t.Setenv("STORAGE_EMULATOR_HOST", s.Endpoint)
	}
}

// Behind returns the server as a proxy shows it.
func (s *Server) Behind(t testing.TB, proxy string) *Server {
	behind := *s
	behind.Endpoint = proxy
	behind.UseEnvironment(t)
	return &behind
}

// URL returns the location of a prefix in a bucket.
func (s *Server) URL(bucket, prefix string) string {
	query := url.Values{}
	switch s.Scheme {
	case "s3":
		query = url.Values{"endpoint": {s.Endpoint}, "region": {region}, "use_path_style": {"true"}}
	case "azblob":
		protocol, domain, _ := strings.Cut(s.Endpoint, "://")
		query = url.Values{"protocol": {protocol}, "domain": {domain}}
	}
	at := s.Scheme + "://" + bucket + "/" + prefix
	if len(query) > 0 {
		at += "?" + query.Encode()
	}
	return at
}

// Bucket is a bucket of a server.
type Bucket struct {
	server *Server
	name   string
}

// Bucket returns a bucket of the server.
func (s *Server) Bucket(name string) *Bucket { return &Bucket{s, name} }

// Put stores an object. Several goroutines may call it.
func (b *Bucket) Put(t testing.TB, key string, content []byte, o Stored) {
	t.Helper()
	if err := b.server.put(context.Background(), b.name, key, content, o); err != nil {
		t.Errorf("put %s: %v", key, err)
	}
}

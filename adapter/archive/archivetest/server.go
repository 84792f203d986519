package archivetest

import (
	"context"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"gocloud.dev/blob"
	_ "gocloud.dev/blob/s3blob" // s3://
)

const (
	accessKey = "archivetest"
	secretKey = "archivetest-secret"
	region    = "us-east-1"
	// startTimeout bounds the start of the gateway.
	startTimeout = 20 * time.Second
)

// S3 is a running Versity S3 Gateway, a real S3 server over a directory.
type S3 struct {
	// Endpoint is its base URL.
	Endpoint string
}

// StartS3 starts the gateway with empty buckets of those names, and stops it with
// the test. It sets the environment variables with which AWS's own chain finds the
// credentials; a program that the test starts inherits them.
//
// The gateway is the program that VERSITYGW names, otherwise versitygw in PATH. If
// there is none the test is skipped, or fails where CI=true.
func StartS3(t testing.TB, buckets ...string) *S3 {
	t.Helper()
	program := os.Getenv("VERSITYGW")
	if program == "" {
		var err error
		if program, err = exec.LookPath("versitygw"); err != nil {
			const remedy = "start S3 with: go install github.com/versity/versitygw/cmd/versitygw@v1.8.0, and have it in PATH or name it in VERSITYGW"
			if os.Getenv("CI") == "true" {
				t.Fatal(remedy)
			}
			t.Skip("SKIP: " + remedy)
		}
	}
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
	command := exec.Command(program, "--port", address, "--access", accessKey, "--secret", secretKey, "--region", region, "--quiet", "--keep-alive",
		"posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data"))
	command.Dir = dir
	command.Stdout, command.Stderr = io.Discard, t.Output()
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan error, 1)
	go func() { exited <- command.Wait() }()
	t.Cleanup(func() {
		_ = command.Process.Kill() // fails if it has exited
		<-exited
	})
	await(t, address, exited)

	setCredentials(t)
	return &S3{Endpoint: "http://" + address}
}

// setCredentials sets the environment variables of AWS's own chain.
func setCredentials(t testing.TB) {
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	t.Setenv("AWS_REGION", region)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func freeAddress(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// await waits until the gateway takes connections.
func await(t testing.TB, address string, exited chan error) {
	t.Helper()
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
		case err := <-exited:
			exited <- err // for the cleanup
			t.Fatalf("the S3 gateway has exited: %v", err)
		case <-timeout.C:
			t.Fatalf("the S3 gateway takes no connections on %s after %v", address, startTimeout)
		case <-tick.C:
		}
	}
}

// URL returns the location of a prefix in a bucket of the gateway.
func (s *S3) URL(bucket, prefix string) string {
	query := url.Values{"endpoint": {s.Endpoint}, "region": {region}, "use_path_style": {"true"}}
	return "s3://" + bucket + "/" + prefix + "?" + query.Encode()
}

// Bucket opens a bucket of the gateway.
func (s *S3) Bucket(t testing.TB, bucket string) *blob.Bucket {
	t.Helper()
	opened, err := blob.OpenBucket(context.Background(), s.URL(bucket, ""))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	return opened
}

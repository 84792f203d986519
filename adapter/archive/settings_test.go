package archive_test

import (
	"strings"
	"testing"

	"segment-saasquatch/adapter/archive"
)

// TestSettings opens buckets with parameters that are wrong. No request is made.
func TestSettings(t *testing.T) {
	t.Setenv("AZURE_STORAGE_ACCOUNT", "acc")
	t.Setenv("AZURE_STORAGE_SAS_TOKEN", "sig=s")
	for at, says := range map[string]string{
		"s3://b?regoin=eu-west-1": `unknown parameter "regoin": there are accelerate, anonymous, awssdk, ` +
			`disable_https, `,
		"gs://b?region=eu-west-1": `unknown parameter "region": there are access_id, anonymous, grpc, ` +
			`private_key_path, universe_domain, zonal`,
		"azblob://b?account=a": `unknown parameter "account": there are cdn, domain, localemu, ` +
			`protocol, storage_account`,
		"s3://b?use_path_style=yes":         "use_path_style: it has to be true or false",
		"s3://b?s3ForcePathStyle=":          "s3ForcePathStyle: it has to be true or false",
		"s3://b?rate_limiter_capacity=many": "rate_limiter_capacity: it has to be a whole number",
		"s3://b?role=admin":                 "role: it has to be an ARN, such as arn:",
		"s3://b?region=a&region=b":          "region is given twice: give it once",
		"s3://b?response_checksum_validation=no": "response_checksum_validation: it has to be " +
			"when_supported or when_required",
		"gs://b?grpc=true":        "grpc: buckets are read by the JSON API only: leave it out",
		"azblob://b?protocol=ftp": "protocol: it has to be http or https",
		"azblob://b?domain=x.test": "the parameters change the server, which AZURE_STORAGE_SAS_TOKEN may not be " +
			"sent to",
		"s3://b?%": "parse the parameters behind the question mark",
	} {
		scheme, _, _ := strings.Cut(at, ":")
		_, err := archive.Open(t.Context(), []string{at}, archive.Options{})
		if err == nil || !strings.Contains(err.Error(), says) ||
			!strings.HasPrefix(err.Error(), "open bucket "+scheme+"://b: ") {
			t.Errorf("%s: %v", at, err)
		}
	}
	t.Setenv("AZURE_STORAGE_ACCOUNT", "")
	if _, err := archive.Open(t.Context(), []string{"azblob://b"}, archive.Options{}); err == nil ||
		!strings.Contains(err.Error(), "set AZURE_STORAGE_ACCOUNT") {
		t.Errorf("no account: %v", err)
	}
}

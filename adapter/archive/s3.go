package archive

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// s3Bucket is a bucket of Amazon S3, or of a server with the same API. AWS's SDK retries a request
// up to twice; AWS_MAX_ATTEMPTS changes that.
type s3Bucket struct {
	client *s3.Client
	name   string
}

func openS3(ctx context.Context, name string, s *settings) (cloud, error) {
	load, set, err := s3Options(s)
	if err != nil {
		return nil, err
	}
	loaded, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, err
	}
	if role := s.text("role"); role != "" {
		loaded.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(loaded), role))
	}
	return &s3Bucket{s3.NewFromConfig(loaded, set), name}, nil
}

// s3Options returns the options that the parameters set, for AWS's configuration and for the
// client.
func s3Options(s *settings) ([]func(*config.LoadOptions) error, func(*s3.Options), error) {
	var load []func(*config.LoadOptions) error
	if region := s.text("region"); region != "" {
		load = append(load, config.WithRegion(region))
	}
	if profile := s.text("profile"); profile != "" {
		load = append(load, config.WithSharedConfigProfile(profile))
	}
	if s.flag("anonymous", false) {
		load = append(load, config.WithCredentialsProvider(aws.AnonymousCredentials{}))
	}
	if s.flag("dualstack", false) {
		load = append(load, config.WithUseDualStackEndpoint(aws.DualStackEndpointStateEnabled))
	}
	if s.flag("fips", false) {
		load = append(load, config.WithUseFIPSEndpoint(aws.FIPSEndpointStateEnabled))
	}
	const always, required = "when_supported", "when_required"
	switch s.oneOf("request_checksum_calculation", always, required) {
	case always:
		load = append(load, config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenSupported))
	case required:
		load = append(load, config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired))
	}
	switch s.oneOf("response_checksum_validation", always, required) {
	case always:
		load = append(load, config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenSupported))
	case required:
		load = append(load, config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired))
	}
	// The default limiter of the SDK ends retries when many objects are read during an outage.
	var limiter retry.RateLimiter = ratelimit.None
	if capacity := s.number("rate_limiter_capacity"); capacity > 0 {
		limiter = ratelimit.NewTokenRateLimit(capacity)
	}
	load = append(load, config.WithRetryer(func() aws.Retryer {
		return retry.NewStandard(func(o *retry.StandardOptions) { o.RateLimiter = limiter })
	}))
	if role := s.text("role"); role != "" && !strings.HasPrefix(role, "arn:") {
		s.faults = append(s.faults, errors.New("role: it has to be an ARN, such as arn:aws:iam::1234:role/reader"))
	}

	endpoint := s.text("endpoint")
	accelerate := s.flag("accelerate", false)
	plain := s.flag("disable_https", false)
	pathStyle := s.flag("s3ForcePathStyle", s.flag("use_path_style", false)) // the first was its name once
	immutable := s.flag("hostname_immutable", false)
	for _, name := range []string{"awssdk", "ssetype", "kmskeyid"} { // which make no difference to reading
		s.text(name)
	}
	return load, func(o *s3.Options) {
		o.UseAccelerate = accelerate
		o.DisableLogOutputChecksumValidationSkipped = true // it would go to the terminal, for each object
		o.EndpointOptions.DisableHTTPS = plain
		o.UsePathStyle = pathStyle
		if endpoint != "" {
			o.BaseEndpoint = &endpoint
			o.UsePathStyle = pathStyle || immutable // a hostname that stays as it is
			// The SDK refuses both with an endpoint, and the environment may set them.
			o.EndpointOptions.UseDualStackEndpoint = aws.DualStackEndpointStateDisabled
			o.EndpointOptions.UseFIPSEndpoint = aws.FIPSEndpointStateDisabled
		}
	}, s.finish()
}

func (b *s3Bucket) list(ctx context.Context, q query) (page, error) {
	in := &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: &q.prefix, MaxKeys: aws.Int32(int32(q.size))}
	if q.delimiter != "" {
		in.Delimiter = &q.delimiter
	}
	if q.token != "" {
		in.ContinuationToken = &q.token
	}
	out, err := b.client.ListObjectsV2(ctx, in)
	if err != nil {
		return page{}, err
	}
	p := page{next: aws.ToString(out.NextContinuationToken)}
	for _, folder := range out.CommonPrefixes {
		p.folders = append(p.folders, aws.ToString(folder.Prefix))
	}
	for _, o := range out.Contents {
		p.objects = append(p.objects, listed{aws.ToString(o.Key), identity{
			tag: unquoted(aws.ToString(o.ETag)), size: aws.ToInt64(o.Size), modified: aws.ToTime(o.LastModified),
		}})
	}
	return p, nil
}

func (b *s3Bucket) read(ctx context.Context, key string, offset int64) (answer, error) {
	in := &s3.GetObjectInput{Bucket: &b.name, Key: &key}
	if offset > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-", offset))
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return answer{}, err
	}
	length := int64(-1)
	if out.ContentLength != nil {
		length = *out.ContentLength
	}
	i := identity{tag: unquoted(aws.ToString(out.ETag)), modified: aws.ToTime(out.LastModified)}
	return newAnswer(out.Body, offset, length, aws.ToString(out.ContentRange), i)
}

func (*s3Bucket) close() {} // the SDK drops its connections when they have been idle

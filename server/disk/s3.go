package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// awsEndpoint serves the buckets of all regions.
const awsEndpoint = "s3.amazonaws.com"

// s3Object is an object in an S3-compatible store.
type s3Object struct {
	core        minio.Core
	bucket, key string

	known bool
	size  int64
	etag  string
}

// newS3Object parses s3://bucket/key. It makes no call to the service.
func (o *Opener) newS3Object(ref *url.URL, src Source) (*s3Object, error) {
	key := strings.TrimPrefix(ref.Path, "/")
	if key == "" {
		return nil, refusal(ErrInvalid, "s3 url names no key, expected s3://bucket/key")
	}
	client, err := o.s3Client(o.opts.S3.overriddenBy(src))
	if err != nil {
		return nil, err
	}
	return &s3Object{core: minio.Core{Client: client}, bucket: ref.Host, key: key, size: -1}, nil
}

// overriddenBy replaces the fields that the source gives.
func (s S3) overriddenBy(src Source) S3 {
	s.Endpoint = orDefault(src.S3.Endpoint, s.Endpoint)
	s.Region = orDefault(src.S3.Region, s.Region)
	s.PathStyle = s.PathStyle || src.S3.PathStyle
	for _, c := range []Credentials{src.S3.Credentials, src.Credentials} {
		if c.AccessKeyID != "" {
			s.Credentials = c
		}
	}
	return s
}

// s3Client makes a client with the same guarded transport as all others. It does not retry, because the stream does.
func (o *Opener) s3Client(s S3) (*minio.Client, error) {
	host, secure, err := endpoint(orDefault(s.Endpoint, awsEndpoint))
	if err != nil {
		return nil, err
	}
	lookup := minio.BucketLookupAuto
	if s.PathStyle {
		lookup = minio.BucketLookupPath
	}
	client, err := minio.New(host, &minio.Options{
		Creds:        credentials.NewStaticV4(s.Credentials.AccessKeyID, s.Credentials.SecretAccessKey, s.Credentials.SessionToken),
		Secure:       secure,
		Transport:    o.client.Transport,
		Region:       s.Region,
		BucketLookup: lookup,
		MaxRetries:   1,
	})
	if err != nil {
		return nil, refusal(ErrInvalid, "s3 endpoint %q cannot be used", host)
	}
	return client, nil
}

// endpoint splits an endpoint into the arguments of the client: host[:port], and whether to use TLS.
func endpoint(raw string) (host string, secure bool, err error) {
	if !strings.Contains(raw, "://") {
		raw = "https://" + raw
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || strings.Trim(u.Path, "/") != "" {
		return "", false, refusal(ErrInvalid, "s3 endpoint is not of the form http(s)://host[:port]")
	}
	switch u.Scheme {
	case "http", "https":
		return u.Host, u.Scheme == "https", nil
	}
	return "", false, refusal(ErrInvalid, "s3 endpoint scheme is %q, allowed are http and https", u.Scheme)
}

func (s *s3Object) info() objectInfo { return objectInfo{size: s.size, ranges: true} }

// open implements [object].
func (s *s3Object) open(ctx context.Context, offset int64) (io.ReadCloser, error) {
	var opts minio.GetObjectOptions
	if offset > 0 {
		opts.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	if s.etag != "" {
		opts.Set("If-Match", s.etag)
	}
	body, info, header, err := s.core.GetObject(ctx, s.bucket, s.key, opts)
	if err != nil {
		return nil, s3Error(ctx, err)
	}
	if err := s.learn(offset, info, header); err != nil {
		body.Close()
		return nil, err
	}
	return body, nil
}

// learn keeps the size and entity tag of the first response, and compares later ones with them.
func (s *s3Object) learn(offset int64, info minio.ObjectInfo, header http.Header) error {
	size := info.Size
	if offset > 0 {
		first, total, ok := contentRange(header.Get("Content-Range"))
		if !ok || first != offset {
			return refusal(ErrUnavailable, "service returned another range than requested")
		}
		size = total
	}
	if !s.known {
		s.known, s.size, s.etag = true, size, header.Get("Etag")
		return nil
	}
	if size != s.size {
		return refusal(ErrChanged, "length changed from %d to %d bytes", s.size, size)
	}
	return nil
}

// s3Error classifies the service's responses. It prints only the code, because messages of some services quote the signed text.
func s3Error(ctx context.Context, err error) error {
	var answer minio.ErrorResponse
	if !errors.As(err, &answer) || answer.StatusCode == 0 {
		return transportError(ctx, err)
	}
	return refusal(statusKind(answer.StatusCode), "service answered %d %s", answer.StatusCode, answer.Code)
}

package conformance_test

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"virtrigaud-provider-truenas/server/conformance"
)

// chosenStaging returns the staging place of the flags, or nil. The keys of S3 are in the variables that its tools use, where a
// list of processes does not show them.
func chosenStaging(t *testing.T) *conformance.Staging {
	t.Helper()
	switch {
	case *providerStaging == "":
		return nil
	case strings.HasPrefix(*providerStaging, "s3://"):
		return inBucket(t, *providerStaging, cmp.Or(*providerStagingAt, "https://s3.amazonaws.com"), map[string]string{
			"accessKeyID": os.Getenv("AWS_ACCESS_KEY_ID"), "secretAccessKey": os.Getenv("AWS_SECRET_ACCESS_KEY"), "sessionToken": os.Getenv("AWS_SESSION_TOKEN"),
		})
	case *providerStagingAt == "":
		t.Fatal("-provider-staging-at has to say where that place is mounted here")
	}
	return inFolder(*providerStaging, *providerStagingAt)
}

// inFolder returns a claim or an NFS export that is mounted here as well.
func inFolder(url, dir string) *conformance.Staging {
	return &conformance.Staging{
		URL:  url,
		Open: func(name string) (io.ReadCloser, error) { return os.Open(filepath.Join(dir, name)) },
		Remove: func(name string) error {
			if err := os.Remove(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			return nil
		},
	}
}

// inBucket returns s3://bucket/prefix at an endpoint.
func inBucket(t *testing.T, where, endpoint string, keys map[string]string) *conformance.Staging {
	t.Helper()
	u, err := url.Parse(where)
	if err != nil {
		t.Fatal(err)
	}
	service, err := url.Parse(endpoint)
	if err != nil || service.Host == "" {
		t.Fatalf("S3 endpoint %q is not a URL", endpoint)
	}
	region := cmp.Or(os.Getenv("AWS_REGION"), "us-east-1")
	client, err := minio.New(service.Host, &minio.Options{
		Creds:  credentials.NewStaticV4(keys["accessKeyID"], keys["secretAccessKey"], keys["sessionToken"]),
		Secure: service.Scheme == "https", Region: region, BucketLookup: minio.BucketLookupPath,
	})
	if err != nil {
		t.Fatal(err)
	}
	key := func(name string) string { return path.Join(strings.TrimPrefix(u.Path, "/"), name) }
	return &conformance.Staging{
		URL: where, Credentials: keys,
		Options: fmt.Sprintf(`{"backend":"s3","bucket":%q,"endpoint":%q,"region":%q,"prefix":%q,"usePathStyle":true}`, u.Host, endpoint, region, u.Path),
		Open: func(name string) (io.ReadCloser, error) {
			return client.GetObject(t.Context(), u.Host, key(name), minio.GetObjectOptions{})
		},
		// The test's context has ended by then.
		Remove: func(name string) error {
			return client.RemoveObject(background, u.Host, key(name), minio.RemoveObjectOptions{})
		},
	}
}

// bucket serves an S3 service in this process.
func bucket(t *testing.T) *conformance.Staging {
	t.Helper()
	objects := s3mem.New()
	if err := objects.CreateBucket("stage"); err != nil {
		t.Fatal(err)
	}
	service := httptest.NewServer(gofakes3.New(objects, gofakes3.WithLogger(gofakes3.DiscardLog())).Server())
	t.Cleanup(service.Close)
	t.Cleanup(func() {
		left, err := objects.ListBucket("stage", nil, gofakes3.ListBucketPage{})
		if err != nil || len(left.Contents) > 0 {
			t.Errorf("leftovers in the bucket: %v, %v", left, err)
		}
	})
	return inBucket(t, "s3://stage/conformance", service.URL, map[string]string{"accessKeyID": "AK", "secretAccessKey": "SK"})
}

// claim makes a folder below root, the mount point of claims.
func claim(t *testing.T, root string) *conformance.Staging {
	t.Helper()
	dir := filepath.Join(root, "stage", "conformance")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("leftovers in the claim: %v, %v", left, err)
		}
	})
	return inFolder("pvc://stage/conformance", dir)
}

package diskio

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
	sdkerrors "github.com/projectbeskar/virtrigaud/sdk/provider/errors"
)

// A file that is shorter than TrueNAS reports is not exported.
func TestAShortFileIsNotCopied(t *testing.T) {
	var out bytes.Buffer
	err := nasImage{file: "/mnt/tank/x", bytes: 5}.copied(&out, strings.NewReader("four"))
	if refused := (*sdkerrors.ProviderError)(nil); !errors.As(err, &refused) || refused.Code != codes.Aborted || refused.Message != "/mnt/tank/x has 5 bytes, and 4 arrived" {
		t.Errorf("got %v", err)
	}
	if err := (nasImage{bytes: 4}).copied(&out, strings.NewReader("four")); err != nil {
		t.Error(err)
	}
}

// FuzzStaged reads the URL and the options of a staged disk.
func FuzzStaged(f *testing.F) {
	f.Add("s3://bucket/key", `{"Backend":"s3","Endpoint":"http://127.0.0.1:1","UsePathStyle":true}`)
	f.Add("nfs://server/export/path", `{"Server":"server","Export":"/export","UID":1000}`)
	f.Fuzz(func(t *testing.T, url, options string) {
		req := &providerv1.ImportDiskRequest{StorageOptionsJson: options}
		_, err := parseStaged("source_url", url, req)
		if refused := (*sdkerrors.ProviderError)(nil); err != nil && (!errors.As(err, &refused) || refused.Code != codes.InvalidArgument) {
			t.Errorf("got %v", err)
		}
	})
}

package omni

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/cosi-project/runtime/pkg/safe"
	"github.com/siderolabs/omni/client/pkg/constants"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"
	"go.uber.org/zap"
	"google.golang.org/protobuf/encoding/protowire"
)

// FormatAuto selects the fastest format that the image factory serves.
const FormatAuto = "auto"

// imageFormats are the formats of an image factory, the fastest first: zstd decompresses ten times faster than xz, and a qcow2 is
// several times larger than either. Factories serve raw.zst for Talos 1.8 and later.
var imageFormats = []string{"raw.zst", "raw.xz", "qcow2"}

// alwaysServed is the format to use when the factory is unreachable.
const alwaysServed = "raw.xz"

// formatTimeout limits one request to the factory, which may build the asset first.
const formatTimeout = 30 * time.Second

// formats caches the format that each factory serves for each Talos version.
type formats struct {
	mu    sync.Mutex
	known map[string]string // by factory and Talos version; checksums by asset
}

// of returns the fastest format that the factory serves. asset is the URL of the image without its format. of does not fail if
// the factory is unreachable, because the backend may still reach it.
func (f *formats) of(ctx context.Context, factory, talos, asset string, headers map[string]string, log *zap.Logger) string {
	key := factory + " " + talos
	f.mu.Lock()
	known := f.known[key]
	f.mu.Unlock()
	if known != "" {
		return known
	}
	for _, format := range imageFormats {
		serves, err := f.serves(ctx, asset+"."+format, headers)
		if err != nil {
			log.Info("query of the image factory's formats failed", zap.String("factory", factory), zap.String("using", alwaysServed), zap.Error(err))
			return alwaysServed
		}
		if serves {
			f.remember(key, format)
			return format
		}
	}
	return alwaysServed
}

func (f *formats) remember(key, format string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil {
		f.known = map[string]string{}
	}
	f.known[key] = format
}

// serves reports whether the factory has an asset. After an error that is unknown.
func (f *formats) serves(ctx context.Context, address string, headers map[string]string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, formatTimeout)
	defer cancel()
	resp, err := ask(ctx, http.MethodHead, address, headers)
	if err != nil {
		return false, err
	}
	_ = resp.Body.Close() // HEAD has no body.
	switch {
	case resp.StatusCode == http.StatusOK:
		return true, nil
	case resp.StatusCode == http.StatusNotFound, resp.StatusCode == http.StatusBadRequest:
		return false, nil
	}
	return false, fmt.Errorf("the image factory returned %s", resp.Status)
}

// checksum returns the sha256 that a factory publishes beside an asset, or "". Only Enterprise factories publish one.
func (f *formats) checksum(ctx context.Context, a Asset) string {
	key := "sha256 " + or(a.Key, a.URL)
	f.mu.Lock()
	known, asked := f.known[key]
	f.mu.Unlock()
	if asked {
		return known
	}
	ctx, cancel := context.WithTimeout(ctx, formatTimeout)
	defer cancel()
	resp, err := ask(ctx, http.MethodGet, siblingURL(a.URL, ".sha256"), a.Headers)
	if err != nil {
		return "" // The backend may reach the factory all the same.
	}
	defer func() { _ = resp.Body.Close() }()
	line, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	sum, _, _ := strings.Cut(strings.TrimSpace(string(line)), " ")
	if err != nil || resp.StatusCode != http.StatusOK || !sha256RE.MatchString(sum) {
		sum = ""
	}
	if resp.StatusCode < http.StatusInternalServerError {
		f.remember(key, sum)
	}
	return sum
}

var sha256RE = regexp.MustCompile(`^[0-9a-f]{64}$`)

// siblingURL returns the address of a file in the same folder, whose name has the suffix appended.
func siblingURL(address, suffix string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	u.Path, u.RawPath = u.Path+suffix, ""
	return u.String()
}

// sameHost reports whether two addresses have the same scheme, host and port.
func sameHost(a, b string) bool {
	x, err1 := url.Parse(a)
	y, err2 := url.Parse(b)
	return err1 == nil && err2 == nil && x.Scheme == y.Scheme && strings.EqualFold(x.Host, y.Host)
}

// ask sends a request with headers that may be secret. It refuses redirects to another host, which would receive the headers. Its
// errors omit the address, which may contain a credential.
func ask(ctx context.Context, method, address string, headers map[string]string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, errors.New("the address of the image cannot be read as a URL")
	}
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	client := &http.Client{CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) >= 10 {
			return errors.New("too many redirects")
		}
		if !sameHost(next.URL.String(), via[0].URL.String()) {
			for name := range headers {
				next.Header.Del(name)
			}
		}
		return nil
	}}
	resp, err := client.Do(req)
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return nil, wrapped.Err
	}
	return resp, err
}

// factoryURL returns the address of the image factory for a Talos version: the configured one, the one that Omni names for the
// version (1.10 and later, with a secondary factory), or Omni's default.
func (p *Provisioner) factoryURL(ctx context.Context, talos string) (string, error) {
	if p.cfg.FactoryURL != "" {
		return strings.TrimSuffix(p.cfg.FactoryURL, "/"), nil
	}
	if named := p.namedFactory(ctx, talos); named != "" {
		return strings.TrimSuffix(named, "/"), nil
	}
	features, err := safe.ReaderGetByID[*omnires.FeaturesConfig](ctx, p.cfg.State, omnires.FeaturesConfigID)
	if err != nil {
		return "", fmt.Errorf("read of the image factory's address from Omni failed: %w", err)
	}
	return strings.TrimSuffix(cmp.Or(features.TypedSpec().Value.GetImageFactoryBaseUrl(), constants.ImageFactoryBaseURL), "/"), nil
}

// factoryField is the number of TalosVersionSpec.image_factory_url, which Omni has since 1.10 and the client library of 1.9
// lacks.
const factoryField = 6

// namedFactory returns the factory that Omni names for a Talos version, or "" before Omni 1.10.
func (p *Provisioner) namedFactory(ctx context.Context, talos string) string {
	version, err := safe.ReaderGetByID[*omnires.TalosVersion](ctx, p.cfg.State, strings.TrimPrefix(talos, "v"))
	if err != nil {
		return "" // A version that Omni does not list comes from its own factory.
	}
	return unknownText(version.TypedSpec().Value.ProtoReflect().GetUnknown(), factoryField)
}

// unknownText returns the text field with a number among the unknown fields of a message.
func unknownText(unknown []byte, field protowire.Number) string {
	found := ""
	eachField(unknown, func(number protowire.Number, raw []byte) {
		if _, kind, _ := protowire.ConsumeTag(raw); number != field || kind != protowire.BytesType {
			return
		}
		if text, n := protowire.ConsumeString(raw[protowire.SizeTag(number):]); n > 0 {
			found = text
		}
	})
	return found
}

// eachField calls see for each field with its tag. It stops at the first field that it cannot parse.
func eachField(fields []byte, see func(protowire.Number, []byte)) {
	for len(fields) > 0 {
		number, _, n := protowire.ConsumeField(fields)
		if n < 0 {
			return
		}
		see(number, fields[:n])
		fields = fields[n:]
	}
}

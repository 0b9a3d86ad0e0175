package omni

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"go.uber.org/zap"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// AssetSource resolves a disk image of Talos through Omni, which serves boot assets from 1.10 on.
type AssetSource interface {
	// DiskAsset returns the location of an asset. ErrNoAssets means that Omni does not serve boot assets. An asset with an empty
	// URL and a nil error means that Omni does not have the format.
	DiskAsset(ctx context.Context, q AssetQuery) (Asset, error)
}

// AssetQuery identifies one disk image.
type AssetQuery struct {
	TalosVersion string // with its leading v
	Schematic    string
	Format       string // such as "raw.zst"
	SecureBoot   bool
}

// Asset is the location of a disk image.
type Asset struct {
	URL     string
	Headers map[string]string // credentials for the download; secret
	Key     string            // identity of the content; empty: the URL identifies it
}

// ErrNoAssets is returned by an [AssetSource] if Omni does not serve boot assets.
var ErrNoAssets = errors.New("omni does not serve boot assets")

// location is the address of a request's image and the identity of its content.
type location struct {
	Asset
	format string // "raw.zst", "raw.xz" or "qcow2"
}

// locate finds the image through Omni, or at the image factory if Omni does not serve boot assets.
func (p *Provisioner) locate(ctx context.Context, r *request, class Class) (location, error) {
	if p.cfg.Assets != nil && p.cfg.FactoryURL == "" {
		found, err := p.fromOmni(ctx, r, class)
		if !errors.Is(err, ErrNoAssets) {
			return found, err
		}
	}
	url, format, err := p.imageURL(ctx, r, class)
	return location{Asset{URL: url, Headers: p.loginFor(url)}, format}, err
}

// fromOmni requests the fastest format that Omni has.
func (p *Provisioner) fromOmni(ctx context.Context, r *request, class Class) (location, error) {
	formats := imageFormats
	if p.cfg.ImageFormat != FormatAuto {
		formats = []string{p.cfg.ImageFormat}
	}
	for _, format := range formats {
		found, err := p.cfg.Assets.DiskAsset(ctx, AssetQuery{r.spec.TalosVersion, r.spec.Schematic, format, class.SecureBoot})
		if err != nil {
			return location{}, fmt.Errorf("request of the boot asset from Omni failed: %w", err)
		}
		if found.URL == "" {
			continue
		}
		serves, err := p.formats.serves(ctx, found.URL, found.Headers)
		if err != nil {
			r.log.Info("check of a boot asset failed; the backend tries it", zap.String("format", format), zap.Error(err))
		}
		if serves || err != nil {
			return location{found, format}, nil
		}
	}
	return location{}, refusal("Omni serves no disk image of Talos %s in a known format (%s)", r.spec.TalosVersion, strings.Join(formats, ", "))
}

// Login is the user name and password of an image factory.
type Login struct{ Username, Password string }

// String keeps the password out of logs and errors.
func (Login) String() string { return "[login]" }

// GoString keeps the password out of %#v.
func (Login) GoString() string { return "[login]" }

// loginFor returns the headers for a factory that requires a login, and nil for others.
func (p *Provisioner) loginFor(address string) map[string]string {
	for factory, login := range p.cfg.Logins {
		if !sameHost(factory, address) {
			continue
		}
		req := http.Request{Header: http.Header{}}
		req.SetBasicAuth(login.Username, login.Password)
		return map[string]string{"Authorization": req.Header.Get("Authorization")}
	}
	return nil
}

// identify adds the identity of the content to the request, for backends that distinguish images by it. Equal keys mean equal
// images, whatever their URLs. Images with different keys share nothing.
func (i image) identify(req *providerv1.ImagePrepareRequest) {
	sum := sha256.Sum256([]byte(i.key()))
	req.Image = &providerv1.ObjectIdentity{Uid: uuid.NewSHA1(uuid.NameSpaceURL, sum[:]).String(), Namespace: "omni", Name: i.name}
	req.SourceDigest, req.TargetName = "sha256:"+hex.EncodeToString(sum[:]), ""
}

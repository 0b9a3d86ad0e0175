package disk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"go.uber.org/zap"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry"
	"oras.land/oras-go/v2/registry/remote"
	"oras.land/oras-go/v2/registry/remote/auth"
	"oras.land/oras-go/v2/registry/remote/credentials"
	"oras.land/oras-go/v2/registry/remote/errcode"
)

// maxManifest is the maximum size of a manifest, the limit of registries.
const maxManifest = 4 * mib

// openOCI finds the disk in an artifact or in a container disk.
func (o *Opener) openOCI(ctx context.Context, ref *url.URL, src Source, announced int64) (*supply, error) {
	repo, err := o.repository(ref, src)
	if err != nil {
		return nil, err
	}
	notify := func(err error, wait time.Duration) {
		o.opts.Logger.Warn("registry unavailable, trying again",
			zap.String("image", redacted(src.URL)), zap.Duration("in", wait), zap.Error(err))
	}
	manifest, err := retried(ctx, o.opts.Retry, notify, func() (ocispec.Manifest, error) {
		return resolveManifest(ctx, repo)
	})
	if err != nil {
		return nil, err
	}
	if err := o.bootable(ctx, repo, manifest); err != nil {
		return nil, err
	}
	layers, err := diskLayers(manifest, ref.Fragment)
	if err != nil {
		return nil, err
	}
	search := &layerSearch{o: o, repo: repo, src: src, file: ref.Fragment, hidden: map[string]bool{}, opaque: map[string]bool{}}
	return search.open(ctx, layers, announced)
}

// repository returns the client for a repository, with the available credentials.
func (o *Opener) repository(ref *url.URL, src Source) (*remote.Repository, error) {
	name := ref.Host + ref.Path
	parsed, err := registry.ParseReference(name)
	if err != nil {
		return nil, refusal(ErrInvalid, "oci reference is not of the form oci://registry/repository[:tag][@digest]")
	}
	parsed.Reference = orDefault(parsed.Reference, "latest")
	credential, err := o.registryCredential(src.Credentials)
	if err != nil {
		return nil, err
	}
	return &remote.Repository{
		Reference:        parsed,
		PlainHTTP:        o.plainHTTP(ref.Host),
		MaxMetadataBytes: maxManifest,
		Client: &auth.Client{
			Client:     o.client,
			Header:     http.Header{"User-Agent": {userAgent}},
			Credential: credential,
			Cache:      auth.NewCache(),
		},
	}, nil
}

// registryCredential prefers the source's credentials over those of the Docker config.
func (o *Opener) registryCredential(c Credentials) (auth.CredentialFunc, error) {
	if c.Username != "" || c.Token != "" {
		given := auth.Credential{Username: c.Username, Password: c.Password, RefreshToken: c.Token}
		return func(context.Context, string) (auth.Credential, error) { return given, nil }, nil
	}
	if o.opts.DockerConfig == "" {
		return nil, nil
	}
	store, err := credentials.NewFileStore(o.opts.DockerConfig)
	if err != nil {
		return nil, refusal(ErrInvalid, "docker config %s cannot be parsed", o.opts.DockerConfig)
	}
	return credentials.Credential(store), nil
}

// plainHTTP reports whether a registry is accessed without TLS.
func (o *Opener) plainHTTP(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	if slices.Contains(o.opts.PlainHTTPRegistries, host) || slices.Contains(o.opts.PlainHTTPRegistries, name) {
		return true
	}
	addr, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return name == "localhost" || err == nil && addr.IsLoopback()
}

// maxIndexes bounds the nested indexes above a manifest.
const maxIndexes = 3

// resolveManifest follows a reference to the manifest of one image, verified against its digest.
func resolveManifest(ctx context.Context, repo *remote.Repository) (ocispec.Manifest, error) {
	desc, err := repo.Resolve(ctx, repo.Reference.Reference)
	if err != nil {
		return ocispec.Manifest{}, registryError(ctx, err)
	}
	for range maxIndexes {
		body, err := fetchSmall(ctx, repo, desc)
		if err != nil {
			return ocispec.Manifest{}, err
		}
		if !slices.Contains(indexTypes, desc.MediaType) {
			return readManifest(desc, body)
		}
		candidates, err := forThisNAS(body)
		if err != nil {
			return ocispec.Manifest{}, err
		}
		if len(candidates) > 1 || candidates[0].Platform == nil {
			return onlyDisk(ctx, repo, candidates)
		}
		desc = candidates[0]
	}
	return ocispec.Manifest{}, refusal(ErrUnsupported, "oci index lists another index, more than %d times", maxIndexes-1)
}

// readManifest reads the manifest of one image.
func readManifest(desc ocispec.Descriptor, body []byte) (ocispec.Manifest, error) {
	var manifest ocispec.Manifest
	if err := json.Unmarshal(body, &manifest); err != nil || len(manifest.Layers) == 0 {
		return ocispec.Manifest{}, refusal(ErrUnsupported, "oci manifest of type %q lists no layers", desc.MediaType)
	}
	return manifest, nil
}

// fetchSmall reads a manifest and verifies it.
func fetchSmall(ctx context.Context, repo *remote.Repository, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > maxManifest {
		return nil, refusal(ErrTooLarge, "oci manifest has %d bytes, the limit is %d", desc.Size, maxManifest)
	}
	body, err := content.FetchAll(ctx, repo.Manifests(), desc)
	if err != nil {
		return nil, registryError(ctx, err)
	}
	return body, nil
}

// fetchBlob reads a small blob and verifies it.
func fetchBlob(ctx context.Context, repo *remote.Repository, desc ocispec.Descriptor) ([]byte, error) {
	if desc.Size > maxManifest {
		return nil, refusal(ErrTooLarge, "oci config has %d bytes, the limit is %d", desc.Size, maxManifest)
	}
	body, err := content.FetchAll(ctx, repo.Blobs(), desc)
	if err != nil {
		return nil, registryError(ctx, err)
	}
	return body, nil
}

// registryError classifies the failures of a registry. It prints only the status and codes of a response.
func registryError(ctx context.Context, err error) error {
	if answer, ok := errors.AsType[*errcode.ErrorResponse](err); ok {
		return refusal(statusKind(answer.StatusCode), "registry answered %d %s", answer.StatusCode, http.StatusText(answer.StatusCode))
	}
	for _, known := range []struct{ from, to error }{
		{errdef.ErrNotFound, ErrNotFound},
		{content.ErrMismatchedDigest, ErrChecksum},
		{content.ErrTrailingData, ErrLength},
		{auth.ErrBasicCredentialNotFound, ErrDenied},
	} {
		if errors.Is(err, known.from) {
			return fmt.Errorf("%w: %w", known.to, known.from)
		}
	}
	return transportError(ctx, err)
}

package spec

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server/refusal"
)

// The stamp of an artifact: user properties of its dataset, which a tenant of the cluster cannot write.
const (
	propArtifact       = "virtrigaud:artifact" // the version of the stamp
	propImageUID       = "virtrigaud:image-uid"
	propImageNamespace = "virtrigaud:image-namespace"
	propImageName      = "virtrigaud:image-name"
	propDigest         = "virtrigaud:source-digest"
	propPreparedBy     = "virtrigaud:prepared-by"
	propPreparedAt     = "virtrigaud:prepared-at" // RFC 3339; when the preparation began
)

const stampVersion = "1"

// maxArtifactName is the longest name of an artifact in bytes. A ZFS path has at most 255.
const maxArtifactName = 80

// ImageIdentity identifies the VMImage and the source of an image. An image with an identity is an artifact: it is never
// shared with another VMImage, not even one with the same URL, since the URL may contain credentials that only one of the
// two owners has.
type ImageIdentity struct {
	uid, namespace, name string // of the VMImage
	digest               string // of its source, as computed by the manager
}

var (
	uidPattern    = regexp.MustCompile(`^[A-Za-z0-9-]{1,128}$`)
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// ParseImageIdentity reads the VMImage of an ImagePrepare. It returns nil for a manager before line 0.4, which sends a target_name.
func ParseImageIdentity(req *providerv1.ImagePrepareRequest) (*ImageIdentity, error) {
	image, digest := req.GetImage(), req.GetSourceDigest()
	switch {
	case image == nil && digest != "":
		return nil, refusal.InvalidArgument("source_digest", "is given without image")
	case image == nil && req.GetProvider() != nil:
		return nil, refusal.InvalidArgument("provider", "is given without image")
	case image == nil && req.GetTargetName() == "":
		return nil, refusal.InvalidArgument("target_name", "must not be empty without image")
	case image == nil:
		return nil, CheckName("target_name", req.GetTargetName())
	case req.GetTargetName() != "":
		return nil, refusal.InvalidArgument("target_name", "is given together with image; give one")
	case !uidPattern.MatchString(image.GetUid()):
		return nil, refusal.InvalidArgument("image.uid", "%q; allowed are 1 to 128 letters, digits and hyphens", image.GetUid())
	case !digestPattern.MatchString(digest):
		return nil, refusal.InvalidArgument("source_digest", "%q; allowed is sha256: with 64 lower-case hexadecimal digits", digest)
	}
	for _, part := range []struct{ field, value string }{{"image.namespace", image.GetNamespace()}, {"image.name", image.GetName()}} {
		if part.value == "" {
			continue
		}
		if err := CheckName(part.field, part.value); err != nil {
			return nil, err
		}
	}
	return &ImageIdentity{uid: image.GetUid(), namespace: image.GetNamespace(), name: image.GetName(), digest: digest}, nil
}

// Display returns the VMImage's name for users.
func (id ImageIdentity) Display() string { return id.namespace + "/" + id.name }

// Artifact returns the name of the image below the images folder: the VMImage's namespace and name for users, and a hash of its uid
// and its source's digest.
func (id ImageIdentity) Artifact() string {
	sum := sha256.Sum256([]byte("v1/" + id.uid + "/" + id.digest))
	h16 := hex.EncodeToString(sum[:8])
	prefix := strings.Map(func(r rune) rune {
		if r > 0x7f || r == ' ' || !strings.ContainsRune(datasetCharacters, r) {
			return '-'
		}
		return r
	}, id.namespace+"."+id.name)
	prefix = prefix[:min(len(prefix), maxArtifactName-len(h16)-1)]
	prefix = strings.Trim(prefix, ".-")
	return prefix + "_" + h16
}

// Stamp returns the properties that mark the dataset of an artifact.
func (id ImageIdentity) Stamp(provider string, now time.Time) map[string]string {
	return map[string]string{
		propArtifact: stampVersion, propImageUID: id.uid, propImageNamespace: id.namespace, propImageName: id.name, propDigest: id.digest,
		propPreparedBy: provider, propPreparedAt: now.UTC().Format(time.RFC3339),
	}
}

// ReadStamp reads an artifact's stamp; nil for an image without a stamp.
func ReadStamp(props map[string]string) *ImageIdentity {
	if props[propArtifact] != stampVersion || props[propImageUID] == "" {
		return nil
	}
	return &ImageIdentity{uid: props[propImageUID], namespace: props[propImageNamespace], name: props[propImageName], digest: props[propDigest]}
}

// Check refuses a foreign dataset in place of an artifact. The provider neither uses nor removes it.
func (id ImageIdentity) Check(props map[string]string) error {
	there := ReadStamp(props)
	if there == nil || there.uid != id.uid || there.digest != id.digest {
		return refusal.AlreadyExists("image: a dataset with the name of this image's artifact, %s, exists and was not made for it; remove it on the NAS", id.Artifact())
	}
	return nil
}

// Confirm returns the identity in the form of the response.
func (id ImageIdentity) Confirm(reused bool) *providerv1.PreparedArtifact {
	return &providerv1.PreparedArtifact{
		Name: id.Artifact(), SourceDigest: id.digest, Reused: reused,
		Image: &providerv1.ObjectIdentity{Uid: id.uid, Namespace: id.namespace, Name: id.name},
	}
}

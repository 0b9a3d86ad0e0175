package server

import (
	"context"
	"fmt"
	"io"
	"path"
	"regexp"
	"strings"

	"virtrigaud-provider-truenas/server/seed"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/server/vmrecord"
	"virtrigaud-provider-truenas/truenas"
)

// maxSeedBytes bounds what is read of a source's seed.
const maxSeedBytes = 64 << 20

// seed makes the clone's seed: the source's user data under a name and an identity of the
// clone's own. Its static addresses are left behind, since two guests cannot have one; the clone
// asks DHCP. A source without a seed gives a clone without one, unless a host name is wanted.
func (c *cloning) seed(ctx context.Context, p *plan) (*seed.Seed, error) {
	if !c.wantsSeed() {
		return nil, nil
	}
	path := seedPathOf(c.source)
	want := spec.VM{Name: c.host, UserData: []byte("#cloud-config\n{}\n"), Networks: c.want.Networks}
	if path != "" {
		userData, err := c.s.userData(ctx, path)
		if err != nil {
			return nil, fmt.Errorf("reading the seed of VM %q: %w", vmrecord.Name(c.source), err)
		}
		want.UserData = userData
	}
	return seed.New(want, p.id, macsOf(p.nics)), nil
}

func (c *cloning) wantsSeed() bool { return seedPathOf(c.source) != "" || c.host != c.want.Name }

// seedPathOf is where the seed that a provider made for a VM lies, or "". It lies in the VM's own
// dataset, and its name has a hash of what is in it: a CD-ROM of the user's may be named alike.
func seedPathOf(vm truenas.VM) string {
	for _, d := range vm.Devices {
		if d.Attributes.DType == truenas.DeviceCDROM && isSeedOf(vm.Name, d.Attributes.Path) {
			return d.Attributes.Path
		}
	}
	return ""
}

var seedFile = regexp.MustCompile(`^seed-[0-9a-f]{16}\.iso$`)

// isSeedOf reports whether a path is where a provider puts the seed of the VM that has this name on the
// NAS.
func isSeedOf(name, file string) bool {
	return seedFile.MatchString(path.Base(file)) && strings.HasSuffix(path.Dir(file), "/vms/"+name)
}

// userData reads a seed's user data back from the NAS.
func (s *Server) userData(ctx context.Context, path string) ([]byte, error) {
	image, err := s.seedImage(ctx, path)
	if err != nil {
		return nil, err
	}
	data, err := seed.ReadFile(image, "user-data")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return data, nil
}

// seedImage reads a seed back from the NAS.
func (s *Server) seedImage(ctx context.Context, path string) ([]byte, error) {
	file, err := s.nas.Files.Get(ctx, path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // Only read.
	return io.ReadAll(io.LimitReader(file, maxSeedBytes))
}

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

// maxSeedBytes bounds the size of a source's seed.
const maxSeedBytes = 64 << 20

// seed makes the clone's seed: the source's user data with the name and identity of the clone. The clone uses DHCP instead of the
// source's static addresses, because two guests cannot share an address. A source without a seed gives a clone without one, unless
// the request names a host name.
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

// seedPathOf returns the path of the seed that a provider made for a VM, or "". The path is in the VM's own dataset and contains a
// hash of the seed, because a user's CD-ROM may have the same name.
func seedPathOf(vm truenas.VM) string {
	for _, d := range vm.Devices {
		if d.Attributes.DType == truenas.DeviceCDROM && isSeedOf(vm.Name, d.Attributes.Path) {
			return d.Attributes.Path
		}
	}
	return ""
}

var seedFile = regexp.MustCompile(`^seed-[0-9a-f]{16}\.iso$`)

// isSeedOf reports whether a path is that of a provider's seed for the VM with this name on the NAS.
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

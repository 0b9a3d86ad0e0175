package landing

import (
	"google.golang.org/grpc/codes"

	"virtrigaud-provider-truenas/server/refusal"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// MaxVolumePercent is the largest share of the available space that TrueNAS permits for a new volume, thin ones included,
// unless forced.
const MaxVolumePercent = 80

// NoSpace refuses a volume that TrueNAS would refuse.
func NoSpace(field string, bytes int64, pool truenas.Dataset) error {
	return refusal.New(codes.ResourceExhausted, "%s: no space: a disk of %d GiB is more than %d %% of the %d GiB available on pool %q", field, bytes/spec.GiB, MaxVolumePercent, pool.AvailableBytes/spec.GiB, pool.ID)
}

func fits(pool truenas.Dataset, size int64) error {
	if size > pool.AvailableBytes/100*MaxVolumePercent {
		return NoSpace("storage_hint", size, pool)
	}
	return nil
}

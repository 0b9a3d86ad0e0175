package sim

// slop is the part of a pool that ZFS reserves: one thirty-second. Therefore the usable space is less than the free space.
func slop(size int64) int64 { return size / 32 }

// touch drops the cached usage of a dataset and the datasets above it.
func (s *state) touch(d *dataset) {
	for d != nil {
		d.usage.known = false
		d = s.Datasets[parentOf(d.Name)]
	}
}

// grew is touch after bytes were written into new blocks. A long upload needs the available space at each step, and counting all
// blocks each time would take longer than storing them.
func (s *state) grew(d *dataset, bytes int64) {
	if !d.usage.known || d.Origin != "" || len(d.snaps) > 0 || d.RefReservation > 0 {
		s.touch(d)
		return
	}
	d.usage.live += bytes
	d.usage.referenced += bytes
	s.touch(s.Datasets[parentOf(d.Name)])
}

// measure computes the usage of a dataset. Blocks that a clone shares with its origin count for the origin.
func (s *state) measure(d *dataset) usage {
	if d.usage.known {
		return d.usage
	}
	u := usage{known: true, live: d.empty(), referenced: d.empty()}
	origin := s.Snapshots[d.Origin]
	live := map[*block]bool{}
	eachContents(d.Data, d.Files, func(name string, c *contents) {
		u.referenced += c.stored * blockSize
		c.above(baseIn(origin, name), func(_ int64, b *block) { live[b] = true })
	})
	u.live += int64(len(live)) * blockSize
	u.snapshots = s.heldBySnapshots(d, origin, live)
	if d.RefReservation > 0 {
		u.reserved = max(0, d.RefReservation-s.sinceSnapshot(d, live))
	}
	for _, child := range d.children {
		u.children += max(s.measure(child).used(), child.Reservation)
	}
	d.usage = u
	return u
}

// heldBySnapshots counts the space that destroying all snapshots of a dataset would free.
func (s *state) heldBySnapshots(d *dataset, origin *snapshot, live map[*block]bool) int64 {
	held := map[*block]bool{}
	for _, n := range d.snaps {
		eachContents(n.Data, n.Files, func(name string, c *contents) {
			c.above(baseIn(origin, name), func(_ int64, b *block) {
				if !live[b] {
					held[b] = true
				}
			})
		})
	}
	return int64(len(held)) * blockSize
}

// sinceSnapshot returns the used part of a reservation. Only writes after the newest snapshot count, which is why a snapshot of a
// thick volume needs space.
func (s *state) sinceSnapshot(d *dataset, live map[*block]bool) int64 {
	if len(d.snaps) == 0 {
		return int64(len(live)) * blockSize
	}
	newest := d.snaps[len(d.snaps)-1]
	n := int64(0)
	eachContents(d.Data, d.Files, func(name string, c *contents) {
		c.above(baseIn(newest, name), func(int64, *block) { n += blockSize })
	})
	return n
}

func eachContents(data contents, files map[string]*file, visit func(name string, c *contents)) {
	visit("", &data)
	for name, f := range files {
		visit(name, &f.Data)
	}
}

// baseIn returns the layer of a volume (name "") or a file in a snapshot.
func baseIn(n *snapshot, name string) *layer {
	if n == nil {
		return nil
	}
	if name == "" {
		return n.Data.base
	}
	if f := n.Files[name]; f != nil {
		return f.Data.base
	}
	return nil
}

// available returns the bytes that can still be written to a dataset.
func (s *state) available(d *dataset) int64 {
	size := s.poolSize(d.pool())
	root := s.Datasets[d.pool()]
	free := size - slop(size) - s.measure(root).used()
	for a := d; a != nil; a = s.Datasets[parentOf(a.Name)] {
		if a.Quota > 0 {
			free = min(free, a.Quota-s.measure(a).used())
		}
	}
	return max(0, free) + s.measure(d).reserved
}

// allocated returns the used bytes of a pool, without reservations.
func (s *state) allocated(pool string) int64 {
	n := int64(0)
	for _, d := range s.Datasets {
		if d.pool() == pool {
			u := s.measure(d)
			n += u.live + u.snapshots
		}
	}
	return n
}

func (s *state) poolSize(name string) int64 {
	for _, p := range s.Pools {
		if p.Name == name {
			return p.SizeBytes
		}
	}
	return 0
}

// checkSpace refuses a write that does not fit into a dataset.
func (s *state) checkSpace(d *dataset, bytes int64) error {
	if available := s.available(d); bytes > available {
		return fail(eNOSPC, "No space left on device: %s has %d bytes available, %d are needed", d.Name, available, bytes)
	}
	return nil
}

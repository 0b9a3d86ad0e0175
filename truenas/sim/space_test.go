package sim

import (
	"math/rand/v2"
	"testing"
)

// TestSpaceOfAnUpload compares the space that grew adds up with a count of all blocks.
func TestSpaceOfAnUpload(t *testing.T) {
	const pieces, seed = 200, 1
	random := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // a test that can be repeated
	for _, tt := range []struct {
		name    string
		prepare func(s *state, d *dataset)
	}{
		{"plain", func(*state, *dataset) {}},
		{"snapshot", func(_ *state, d *dataset) { d.snaps = append(d.snaps, &snapshot{}) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := must(New(Config{Release: "25.10", Pools: []Pool{{Name: "tank", SizeBytes: 1 << 40}}}))
			c := &call{sim: n}
			s := &n.state
			root := s.Datasets["tank"]
			f := &file{}
			root.store("upload", f)
			tt.prepare(s, root)
			for range pieces {
				p := make([]byte, random.IntN(4)*blockSize+random.IntN(2)*random.IntN(blockSize))
				if random.IntN(3) > 0 {
					for i := range p {
						p[i] = byte(random.Uint32())
					}
				}
				if err := c.grow(root, f, p); err != nil {
					t.Fatal(err)
				}
				got := s.measure(root)
				s.touch(root)
				if want := s.measure(root); got != want {
					t.Fatalf("after %d bytes: %+v, counted %+v", f.Size, got, want)
				}
			}
		})
	}
}

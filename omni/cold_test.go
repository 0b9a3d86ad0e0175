package omni

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/servertest"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// The image of BenchmarkColdMachine has the size of Talos's image, and the link the rate of a home network.
const (
	coldDiskBytes = 1246 << 20
	coldDataBytes = 140 << 20
	linkRate      = 125_000_000 // bytes per second: 1 Gbit/s
	linkDelay     = 5 * time.Millisecond
)

// BenchmarkColdMachine measures the time from a machine request to a running VM, for each image format, when the NAS does not
// have the image yet. The adapter already runs and has checked its backend. sent-MiB/op is the data sent to the NAS.
//
//	go test -run '^$' -bench ColdMachine -benchtime 1x ./omni
func BenchmarkColdMachine(b *testing.B) {
	image := coldImage()
	for _, format := range []string{"raw.zst", "raw.xz"} {
		b.Run(format, func(b *testing.B) {
			content := compressed(b, image, format)
			var spent time.Duration
			var sent int64
			for range b.N {
				took, bytes := coldMachine(b, format, content)
				spent, sent = spent+took, sent+bytes
			}
			b.ReportMetric(spent.Seconds()/float64(b.N), "s/machine")
			b.ReportMetric(float64(sent)/float64(b.N)/(1<<20), "sent-MiB/op")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// coldImage has data in the first third and at the end, like a disk with partitions, in pieces with gaps.
func coldImage() []byte {
	disk := make([]byte, coldDiskBytes)
	random := rand.NewChaCha8([32]byte{16})
	for at, left := 0, coldDataBytes; left > 0; at, left = at+3<<20, left-1<<20 {
		_, _ = random.Read(disk[at : at+1<<20])
	}
	copy(disk[510:], "\x55\xaa")
	return disk
}

func compressed(b *testing.B, disk []byte, format string) []byte {
	b.Helper()
	if format == "raw.zst" {
		z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(8<<20))
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = z.Close() }()
		return z.EncodeAll(disk, nil)
	}
	file := filepath.Join(b.TempDir(), "disk.raw")
	if err := os.WriteFile(file, disk, 0o600); err != nil {
		b.Fatal(err)
	}
	if out, err := exec.CommandContext(b.Context(), "xz", "-0", "-T2", file).CombinedOutput(); err != nil {
		b.Skipf("the xz program is needed: %v: %s", err, out)
	}
	content, err := os.ReadFile(file + ".xz")
	if err != nil {
		b.Fatal(err)
	}
	return content
}

// coldMachine requests one machine from a NAS behind a link, and waits until it runs.
func coldMachine(b *testing.B, format string, content []byte) (took time.Duration, sent int64) {
	b.Helper()
	simulated, listener := truenastest.Serve(b, truenastest.Release("25.10"), func(c *sim.Config) { c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40}} })
	cfg := truenastest.Config(listener)
	address, counted := shaped(b, cfg.URL)
	cfg.URL = address
	nas, err := truenas.New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = nas.Close() })
	s, err := server.New(nas, server.Config{
		ID: "nas", Dataset: "tank/virtrigaud", Instance: "replica-1", DefaultNetwork: "br0",
		Disk: disk.Options{AllowAddresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	w := newWorld(b, Backend{Name: "nas", Client: servertest.Dial(b, s.Register)})
	w.cfg.Pace, w.cfg.WatchInterval, w.cfg.HealthInterval = Pace{}, 0, 0 // The defaults of the program.
	w.factory.SetFormats(format)
	w.factory.SetImage(format, content)
	p, stop := w.start()
	defer stop()
	for p.Overview().Providers[0].Checked.IsZero() { // In the program, this check precedes the first request.
		time.Sleep(5 * time.Millisecond)
	}
	begin := time.Now()
	w.request("cold", class)
	deadline := begin.Add(10 * time.Minute)
	for vms := simulated.VMs(); len(vms) != 1 || vms[0].State != "RUNNING"; vms = simulated.VMs() {
		if time.Now().After(deadline) {
			b.Fatalf("no running VM after 10 minutes: %v", w.status("cold").TypedSpec().Value)
		}
		time.Sleep(5 * time.Millisecond) // The simulator does not signal it.
	}
	return time.Since(begin), counted.Load()
}

// shaped is a proxy in front of a NAS with the rate and the delay of a link. It counts the bytes sent to the NAS.
func shaped(b *testing.B, target string) (address string, sent *atomic.Int64) {
	b.Helper()
	u, err := url.Parse(target)
	if err != nil {
		b.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = listener.Close() })
	sent = &atomic.Int64{}
	link, nasHost := &bucket{}, u.Host
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			nas, err := net.Dial("tcp", nasHost)
			if err != nil {
				_ = client.Close()
				return
			}
			go link.pass(nas, client, sent)
			go (&bucket{}).pass(client, nas, &atomic.Int64{})
		}
	}()
	u.Host = listener.Addr().String()
	return u.String(), sent
}

// bucket is one direction of a link. All connections share its rate.
type bucket struct{ free atomic.Int64 } // when the link is free, in Unix nanoseconds

type parcel struct {
	data []byte
	at   time.Time // of arrival
}

// pass copies with rate and delay, and ends both connections when one ends.
func (l *bucket) pass(to, from net.Conn, count *atomic.Int64) {
	defer func() { _, _ = to.Close(), from.Close() }()
	wire := make(chan parcel, 256) // in flight
	go func() {
		defer close(wire)
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if n > 0 {
				count.Add(int64(n))
				wire <- parcel{bytes.Clone(buf[:n]), l.departs(n).Add(linkDelay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range wire {
		time.Sleep(time.Until(p.at))
		if _, err := io.Copy(to, bytes.NewReader(p.data)); err != nil {
			break
		}
	}
	for range wire { // Let the reader end.
		continue
	}
}

// departs waits until the link has room for n bytes more, and returns the time at which the last of them leaves.
func (l *bucket) departs(n int) time.Time {
	took := time.Duration(n) * time.Second / linkRate
	for {
		free, now := l.free.Load(), time.Now().UnixNano()
		end := max(free, now) + int64(took)
		if !l.free.CompareAndSwap(free, end) {
			continue
		}
		leaves := time.Unix(0, end)
		time.Sleep(time.Until(leaves.Add(-10 * time.Millisecond))) // a queue of 10 ms
		return leaves
	}
}

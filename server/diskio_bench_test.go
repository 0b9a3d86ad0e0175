package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// nasProcessVariable names the variable that makes this test binary the process of a NAS and a depot. In the same process, their memory
// would hide that of the provider.
const nasProcessVariable = "DISKIO_NAS_PROCESS" // the size of its VM's disk in MiB

// nasProcess are the addresses of that process.
type nasProcess struct {
	NAS, Fingerprint, S3 string
}

// TestNASProcess is the main function of that process when the variable is set, and otherwise tests nothing.
func TestNASProcess(t *testing.T) {
	mib, err := strconv.ParseInt(os.Getenv(nasProcessVariable), 10, 64)
	if err != nil {
		return
	}
	nas, server := truenastest.Serve(t)
	if err := nas.AddDataset("tank/vms", nil); err != nil {
		t.Fatal(err)
	}
	if err := nas.AddVolume("tank/vms/big", mib<<20, nil); err != nil {
		t.Fatal(err)
	}
	// Every other MiB has incompressible data.
	random := rand.NewChaCha8([32]byte{1})
	piece := make([]byte, 1<<20)
	for at := int64(0); at < mib; at += 2 {
		_, _ = random.Read(piece)
		if _, err := nas.WriteVolume("tank/vms/big", piece, at<<20); err != nil {
			t.Fatal(err)
		}
	}
	if err := nas.AddVM("big", 1, 512, "tank/vms/big"); err != nil {
		t.Fatal(err)
	}
	objects := s3mem.New()
	if err := objects.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go http.Serve(lis, gofakes3.New(objects, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()) //nolint:errcheck,gosec // It ends with the process.
	if err := json.NewEncoder(os.Stdout).Encode(nasProcess{server.URL, server.Fingerprint, "http://" + lis.Addr().String()}); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until the other process is done
}

// startNASProcess starts that process.
func startNASProcess(t testing.TB, mib int) nasProcess {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestNASProcess$", "-test.v=false")
	cmd.Env, cmd.Stderr = append(os.Environ(), fmt.Sprintf("%s=%d", nasProcessVariable, mib)), os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = cmd.Wait()
	})
	var o nasProcess
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(line), &o)
	}
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out) //nolint:errcheck // It ends with the process.
	return o
}

// peak measures the growth of this process's memory.
func peak(t testing.TB) (most func() uint64) {
	t.Helper()
	inUse := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	runtime.GC()
	first := inUse()
	var high atomic.Uint64
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for tick := time.NewTicker(5 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			high.Store(max(high.Load(), inUse()))
		}
	}()
	return func() uint64 {
		stop()
		<-done
		return max(high.Load(), first) - first
	}
}

// mover is a provider beside a NAS and an S3 service in another process.
type mover struct {
	nasProcess
	client providerv1.ProviderClient
	s3     *minio.Core
	id     string
}

func newMover(t testing.TB, mib int) *mover {
	t.Helper()
	m := &mover{nasProcess: startNASProcess(t, mib)}
	nas, err := truenas.New(truenas.Config{URL: m.NAS, Fingerprint: m.Fingerprint, Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, PlainLogin: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nas.Close() })
	m.client, _ = serve(t, nas, loopbackImages)
	m.s3, err = minio.NewCore(strings.TrimPrefix(m.S3, "http://"), &minio.Options{Creds: credentials.NewStaticV4("AK", "very-secret", ""), Region: "us-east-1", BucketLookup: minio.BucketLookupPath})
	if err != nil {
		t.Fatal(err)
	}
	list, err := m.client.ListVMs(background, &providerv1.ListVMsRequest{})
	if err != nil || len(list.GetVms()) != 1 {
		t.Fatalf("got %v, %v", list, err)
	}
	m.id = list.GetVms()[0].GetId()
	return m
}

func (m *mover) options() string {
	return fmt.Sprintf(`{"backend":"s3","endpoint":%q,"region":"us-east-1","usePathStyle":true}`, m.S3)
}

func (m *mover) export(t testing.TB, format string, compress bool) *providerv1.ExportDiskResponse {
	t.Helper()
	out, err := m.client.ExportDisk(background, &providerv1.ExportDiskRequest{
		VmId: m.id, DestinationUrl: "s3://bucket/" + format, Format: format, Compress: compress, Credentials: secrets(), StorageOptionsJson: m.options(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (m *mover) importDisk(t testing.TB, format, sum string) {
	t.Helper()
	_, err := m.client.ImportDisk(background, &providerv1.ImportDiskRequest{
		SourceUrl: "s3://bucket/" + format, Format: format, TargetName: "back", Credentials: secrets(), StorageOptionsJson: m.options(),
		VerifyChecksum: sum != "", ExpectedChecksum: sum,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// movingLimit is the memory limit for moving a disk of any size.
const movingLimit = 64 << 20

func TestMovingADiskUsesLittleMemory(t *testing.T) {
	m := newMover(t, orFewer(t, 384, 192))
	for _, tt := range []struct {
		format   string
		compress bool
	}{{"qcow2", false}, {"vmdk", false}, {"qcow2", true}} {
		most := peak(t)
		out := m.export(t, tt.format, tt.compress)
		exported := most()
		most = peak(t)
		m.importDisk(t, tt.format, out.GetChecksum())
		imported := most()
		t.Logf("%s (compressed: %t) of %d MiB: export took %d MiB of memory, import %d", tt.format, tt.compress, out.GetEstimatedSizeBytes()>>20, exported>>20, imported>>20)
		if max(exported, imported) > movingLimit {
			t.Errorf("%s: more than %d MiB of memory", tt.format, movingLimit>>20)
		}
	}
}

// BenchmarkMovingADisk compares moving a disk with a plain copy of the same bytes by the same S3
// client, in one run.
func BenchmarkMovingADisk(b *testing.B) {
	m := newMover(b, 1024)
	var size int64
	var copied, moved time.Duration
	for b.Loop() {
		began := time.Now()
		size = m.export(b, "qcow2", false).GetEstimatedSizeBytes()
		exported := time.Since(began)
		began = time.Now()
		m.importDisk(b, "qcow2", "")
		imported := time.Since(began)
		down, up := m.copy(b, "qcow2", size)
		moved, copied = moved+exported+imported, copied+down+up
		b.Logf("export %v, plain upload %v; import %v, plain download %v", exported, up, imported, down)
	}
	speed := func(d time.Duration) float64 { return float64(2*size) * float64(b.N) / (1 << 20) / d.Seconds() }
	b.ReportMetric(speed(moved), "MiB/s")
	b.ReportMetric(speed(copied), "plain-MiB/s")
	b.ReportMetric(100*speed(moved)/speed(copied), "%-of-plain")
}

// copy reads an object and writes it under another name, as a copying program does.
func (m *mover) copy(b *testing.B, key string, size int64) (down, up time.Duration) {
	b.Helper()
	file, err := os.CreateTemp(b.TempDir(), "copy")
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	began := time.Now()
	object, _, _, err := m.s3.GetObject(background, "bucket", key, minio.GetObjectOptions{})
	if err != nil {
		b.Fatal(err)
	}
	if n, err := io.Copy(file, object); err != nil || n != size {
		b.Fatalf("%d bytes, %v", n, err)
	}
	down = time.Since(began)
	began = time.Now()
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		b.Fatal(err)
	}
	_, err = m.s3.Client.PutObject(background, "bucket", "plain", file, size, minio.PutObjectOptions{DisableContentSha256: true, SendContentMd5: true, PartSize: 8 << 20})
	if err != nil {
		b.Fatal(err)
	}
	return down, time.Since(began)
}

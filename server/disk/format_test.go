package disk

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"

	"github.com/lima-vm/go-qcow2reader"
)

// qemu-img made the files from one disk of 4 MiB.
const realDisk = 4 * mib

func TestFormatFollowsContent(t *testing.T) {
	o := newOpener(t)
	for _, tt := range []struct {
		file   string
		format Format
		suffix string
	}{
		{"v2.qcow2", QCOW2, ".qcow2"},
		{"v3.qcow2", QCOW2, ".qcow2"},
		{"zstd.qcow2", QCOW2, ".qcow2"},
		{"extended.qcow2", QCOW2, ".qcow2"},
		{"monolithicSparse.vmdk", VMDK, ".vmdk"},
		{"streamOptimized.vmdk", VMDK, ".vmdk"},
		{"dynamic.vdi", VDI, ".vdi"},
		{"static.vdi", VDI, ".vdi"},
		{"dynamic.vhdx", VHDX, ".vhdx"},
		{"fixed.vhd", VHD, ".raw"},
		{"plain.raw", Raw, ".raw"},
	} {
		content := unxz(t, "real/"+tt.file+".xz")
		t.Run(tt.file, func(t *testing.T) {
			img, got := mustRead(t, o, Source{URL: serve(t, content), Format: string(tt.format)})
			if img.Format != tt.format || img.Suffix() != tt.suffix || img.VirtualBytes != realDisk {
				t.Errorf("got %s, %s, %d bytes of disk", img.Format, img.Suffix(), img.VirtualBytes)
			}
			if tt.format == VHD {
				content = content[:realDisk]
			}
			if !bytes.Equal(got, content) {
				t.Error("the bytes are not the file's")
			}
		})
	}
}

func TestFixedVHDLosesItsFooter(t *testing.T) {
	content, disk := unxz(t, "real/fixed.vhd.xz"), unxz(t, "real/plain.raw.xz")
	for _, tt := range []struct {
		name    string
		content []byte
		early   Format // known after Open
	}{
		{"its end can be read first", content, VHD},
		{"its end comes last", gzipped(t, content), Raw},
	} {
		t.Run(tt.name, func(t *testing.T) {
			img, err := newOpener(t).Open(t.Context(), Source{URL: serve(t, tt.content)})
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			if img.Format != tt.early {
				t.Errorf("format is %s at first, want %s", img.Format, tt.early)
			}
			var got bytes.Buffer
			if _, err := img.WriteTo(&got); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got.Bytes(), disk) || img.Format != VHD || img.VirtualBytes != realDisk {
				t.Errorf("got %d bytes of %s, a disk of %d", got.Len(), img.Format, img.VirtualBytes)
			}
		})
	}
}

func TestFixedVHDWithoutRanges(t *testing.T) {
	content := unxz(t, "real/fixed.vhd.xz")
	url := serveHandler(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(content)))
		w.Write(content)
	})
	for _, format := range []string{"", "vhd"} {
		img, got := mustRead(t, newOpener(t), Source{URL: url, Format: format})
		if len(got) != realDisk || img.VirtualBytes != realDisk || img.Bytes != realDisk {
			t.Errorf("announced as %q: got %d bytes, a disk of %d", format, len(got), img.VirtualBytes)
		}
	}
}

func TestVirtualSizeAgreesWithAnotherReader(t *testing.T) {
	for _, name := range []string{"v2.qcow2", "v3.qcow2", "extended.qcow2"} {
		content := unxz(t, "real/"+name+".xz")
		other, err := qcow2reader.Open(bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		s, err := inspectQCOW2(&head{r: bytes.NewReader(content)})
		if err != nil || s.virtual != other.Size() {
			t.Errorf("%s: %d bytes (%v), the other reader finds %d", name, s.virtual, err, other.Size())
		}
		other.Close()
	}
}

func TestISOIsRawUnlessRequested(t *testing.T) {
	iso := make([]byte, mib)
	copy(iso[0x8001:], "CD001")
	for announced, wanted := range map[string]Format{"": ISO, "iso": ISO, "raw": ISO} {
		img, got := mustRead(t, newOpener(t), Source{URL: serve(t, iso), Format: announced})
		if img.Format != wanted || img.VirtualBytes != mib || !bytes.Equal(got, iso) {
			t.Errorf("announced as %q: got %s of %d bytes", announced, img.Format, img.VirtualBytes)
		}
	}
}

func TestNotADisk(t *testing.T) {
	for _, tt := range []struct{ name, content, word string }{
		{"nothing", "", "0 bytes"},
		{"a message", "not found\n", "plain text"},
		{"a few bytes", "\x00\x01", "2 bytes"},
		{"a web page", "<!DOCTYPE html><html>please log in</html>", "an HTML page"},
		{"lz4", "\x04\x22\x4d\x18", "lz4"},
		{"a dmg", string(make([]byte, 4096)) + "koly" + string(make([]byte, 508)), "dmg"},
		{"xz in gzip", string(gzipped(t, []byte("\xfd7zXZ\x00"))), "doubly"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newOpener(t).Open(t.Context(), Source{URL: serve(t, []byte(tt.content))})
			want(t, err, ErrUnsupported, tt.word)
		})
	}
}

func TestAnnouncedFormatDiffers(t *testing.T) {
	qcow2 := unxz(t, "real/v3.qcow2.xz")
	for _, tt := range []struct {
		name      string
		announced string
		content   []byte
		kind      error
	}{
		{"vmdk, and it is a qcow2", "vmdk", qcow2, ErrFormat},
		{"qcow2, and it is raw", "qcow2", rawDisk(4096), ErrFormat},
		{"iso, and it is raw", "iso", rawDisk(4096), ErrFormat},
		{"vhd, and it is raw", "vhd", rawDisk(4096), ErrFormat},
		{"raw, and it is a qcow2", "raw", qcow2, ErrFormat},
		{"something unheard of", "floppy", qcow2, ErrInvalid},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := newOpener(t).Open(t.Context(), Source{URL: serve(t, tt.content), Format: tt.announced})
			want(t, err, tt.kind, tt.announced)
		})
	}
}

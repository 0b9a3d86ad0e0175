package sim

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"
)

// put uploads a file without the HTTP transport.
func (n *direct) put(path string, body io.Reader, options object) error {
	n.t.Helper()
	m := n.methods["filesystem.put"]
	c := &call{sim: n.Sim, session: &session{sim: n.Sim, user: n.accounts[0]}, method: "filesystem.put", body: body}
	c.params = append(c.params, mustJSON(n.t, path), mustJSON(n.t, options))
	_, err := n.job(c, m)
	return err
}

func TestFiles(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			n := newDirect(t, release)
			before := n.sizes("tank").Available.Parsed
			data := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
			if err := n.put("/mnt/tank/x.img", bytes.NewReader(data), object{"mode": 0o600}); err != nil {
				t.Fatal(err)
			}
			if got, err := n.File("/mnt/tank/x.img"); err != nil || !bytes.Equal(got, data) {
				t.Errorf("the file has %d bytes, %v", len(got), err)
			}
			if taken := before - n.sizes("tank").Available.Parsed; taken != 1<<20 {
				t.Errorf("a file of 1 MiB uses %d bytes", taken)
			}
			if err := n.put("/mnt/tank/x.img", bytes.NewReader([]byte("short")), object{}); err != nil {
				t.Fatal(err)
			}
			if got, _ := n.File("/mnt/tank/x.img"); string(got) != "short" {
				t.Errorf("after an overwrite the file has %d bytes", len(got))
			}
			if err := n.put("/mnt/tank/x.img", bytes.NewReader([]byte("er")), object{"append": true}); err != nil {
				t.Fatal(err)
			}
			if got, _ := n.File("/mnt/tank/x.img"); string(got) != "shorter" {
				t.Errorf("after an append the file has %q", got)
			}
			var stat struct{ Size, Mode int64 }
			n.must(&stat, "filesystem.stat", "/mnt/tank/x.img")
			if stat.Size != 7 || stat.Mode != 0o100644 {
				t.Errorf("stat says %+v", stat)
			}
			var names []struct{ Name, Type string }
			n.must(&names, "filesystem.listdir", "/mnt/tank", []any{[]any{"type", "=", "FILE"}})
			if len(names) != 1 || names[0].Name != "x.img" {
				t.Errorf("listdir says %+v", names)
			}
		})
	}
}

func TestFileRefusals(t *testing.T) {
	n := newDirect(t, "25.10")
	n.must(nil, "filesystem.mkdir", object{"path": "/mnt/tank/folder"})
	n.fails(eEXIST, "already exists", "filesystem.mkdir", object{"path": "/mnt/tank/folder"})
	n.fails(eINVAL, "No such file", "filesystem.mkdir", object{"path": "/mnt/tank/no/folder"})
	n.fails(eNOENT, "not found", "filesystem.stat", "/mnt/tank/no")
	for _, tt := range []struct {
		name, path string
		errno      int
	}{
		{"a folder itself", "/mnt/tank/folder", eINVAL},
		{"outside of all datasets", "/etc/passwd", eINVAL},
	} {
		if got := errnoOf(n.put(tt.path, bytes.NewReader(nil), object{})); got != tt.errno {
			t.Errorf("%s: errno %d, want %d", tt.name, got, tt.errno)
		}
	}
}

// TestUploadMakesFolders uploads below a destroyed dataset. The upload makes a folder, which blocks the name.
func TestUploadMakesFolders(t *testing.T) {
	for _, release := range releases {
		n := newDirect(t, release)
		n.must(nil, "pool.dataset.create", object{"name": "tank/a"})
		n.must(nil, "pool.dataset.delete", "tank/a")
		if err := n.put("/mnt/tank/a/b/x", bytes.NewReader(nil), object{}); err != nil {
			t.Fatal(err)
		}
		n.fails(eINVAL, "Path /mnt/tank/a already exists", "pool.dataset.create", object{"name": "tank/a"})
	}
}

func TestBrokenUploadLeavesPartialFile(t *testing.T) {
	n := newDirect(t, "25.10")
	body := io.MultiReader(bytes.NewReader([]byte("begin")), iotest.ErrReader(io.ErrClosedPipe))
	if err := n.put("/mnt/tank/x", body, object{}); err == nil {
		t.Error("the upload succeeded")
	}
	if got, err := n.File("/mnt/tank/x"); err != nil || string(got) != "begin" {
		t.Errorf("the file has %q, %v", got, err)
	}
}

func TestUploadBeyondFreeSpace(t *testing.T) {
	n := newDirect(t, "25.10")
	n.must(nil, "pool.dataset.create", object{"name": "tank/q", "quota": 1 << 30})
	n.volume("tank/q/v", 1<<29, object{"sparse": false})
	n.volume("tank/q/w", 1<<29, object{"refreservation": 501 << 20, "force_size": true})
	err := n.put("/mnt/tank/q/x", bytes.NewReader(bytes.Repeat([]byte("x"), 2<<20)), object{})
	if errnoOf(err) != eNOSPC {
		t.Errorf("the upload returned %v", err)
	}
}

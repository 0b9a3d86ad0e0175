package disk

import (
	"bytes"
	"cmp"
	"errors"
	"io"
)

// A fully allocated qcow2 stores the zeros of its disk. It is sent as a vmdk without them if it can be read as a stream, in
// constant memory: tables before their data, data in the order of the disk, no compressed clusters. qemu-img writes a file with
// preallocation or with -S 0 in this form. The first table decides about the attempt, before the first byte is sent.

// repackHead bounds the offset of the first table, in bytes.
const repackHead = 2 * mib

// repacks reports whether a qcow2 is sent as a vmdk.
func (i *Image) repacks() bool {
	if !i.repack || i.Format != QCOW2 || len(i.makers) > 0 {
		return false
	}
	if i.Bytes >= 0 && i.Bytes < i.VirtualBytes/4*3 {
		return false // It already leaves out zeros.
	}
	start, err := i.head.upTo(repackHead)
	return err == nil && inOrder(start, i.VirtualBytes) // WriteTo reports the error.
}

// inOrder reports whether a qcow2 with these first bytes can be read as a stream, as far as its first table shows.
func inOrder(start []byte, size int64) bool {
	q := newQCOW2Stream(bytes.NewReader(start), size, func(int64, []byte) error { return nil })
	q.maxRuns = maxRunsSent
	err := q.read()
	return q.table > 0 && (err == nil || errors.Is(err, ErrLength)) // start ends early.
}

// eachCluster passes the allocated clusters of a qcow2 to visit. It returns ErrUnordered for a file that cannot be read as a
// stream, and otherwise the error of WriteTo.
func (i *Image) eachCluster(visit visitor) error {
	r, w := io.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := i.WriteTo(w)
		w.CloseWithError(err) // nil is the end of the file.
	}()
	q := newQCOW2Stream(r, i.VirtualBytes, visit)
	q.zeros, q.maxRuns = true, maxRunsSent
	err := q.read()
	if err != nil {
		i.cancel() // WriteTo may wait for the network.
	}
	r.CloseWithError(cmp.Or(err, io.ErrClosedPipe))
	<-done
	return err
}

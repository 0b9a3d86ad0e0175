package disk

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Destination is the place of an exported disk: pvc://claim/path, s3://bucket/key or nfs://server/export/path.
type Destination struct {
	URL string
	// MostBytes is the expected maximum length of the object.
	MostBytes int64
	// Credentials for the destination.
	Credentials Credentials
	// S3 overrides [Options.S3], as a source's S3 does.
	S3 S3
}

// Upload is an object in transfer to a destination. Until Commit, the destination keeps its previous content.
type Upload struct {
	name string
	to   sink
	sum  hash.Hash
	n    int64
	over bool
	free func() // releases the memory
}

// sink receives an upload's bytes.
type sink interface {
	io.Writer
	// commit makes the object of n bytes visible.
	commit(n int64) error
	// abort removes the written data. The context of the upload may have ended.
	abort() error
}

// Create begins an upload. It is for one goroutine, which must end it with Commit or Abort.
func (o *Opener) Create(ctx context.Context, dst Destination) (*Upload, error) {
	r := o.memory.enter()
	if err := r.wait(ctx, sinkNeeds(dst), func(int) {}); err != nil {
		return nil, fmt.Errorf("writing %s: waiting for memory: %w", redacted(dst.URL), err)
	}
	to, err := o.sink(ctx, dst)
	if err != nil {
		r.release()
		return nil, fmt.Errorf("writing %s: %w", redacted(dst.URL), err)
	}
	return &Upload{name: redacted(dst.URL), to: to, sum: sha256.New(), free: r.release}, nil
}

// sinkNeeds returns the memory for an upload, in bytes.
func sinkNeeds(dst Destination) int64 {
	if strings.HasPrefix(dst.URL, "s3:") {
		return sinkBytes + max(s3BufferBytes, s3PartBytes(dst.MostBytes))
	}
	return sinkBytes
}

func (o *Opener) sink(ctx context.Context, dst Destination) (sink, error) {
	ref, local, err := o.stagedReference(dst.URL)
	switch {
	case err != nil:
		return nil, err
	case local != nil:
		return newFileSink(ctx, local)
	case ref.Scheme == "s3":
		return o.newS3Sink(ctx, ref, dst)
	}
	return nil, refusal(ErrInvalid, "url scheme is %q, allowed are pvc, s3 and nfs", ref.Scheme)
}

// Write implements [io.Writer].
func (u *Upload) Write(p []byte) (int, error) {
	n, err := u.to.Write(p)
	u.sum.Write(p[:n])
	u.n += int64(n)
	if err != nil {
		err = fmt.Errorf("writing %s: %w", u.name, err)
	}
	return n, err
}

// Commit publishes the complete object and replaces the previous one. After an error, call Abort.
func (u *Upload) Commit() error {
	if u.over {
		return errors.New("the upload is closed")
	}
	if err := u.to.commit(u.n); err != nil {
		return fmt.Errorf("writing %s: %w", u.name, err)
	}
	u.over = true
	u.free()
	return nil
}

// Abort discards the written data. After Commit, it does nothing.
func (u *Upload) Abort() error {
	if u.over {
		return nil
	}
	u.over = true
	defer u.free()
	if err := u.to.abort(); err != nil {
		return fmt.Errorf("aborting the upload of %s: %w", u.name, err)
	}
	return nil
}

// Bytes returns the number of written bytes.
func (u *Upload) Bytes() int64 { return u.n }

// Sum returns the SHA-256 of the written data, in hexadecimal.
func (u *Upload) Sum() string { return hex.EncodeToString(u.sum.Sum(nil)) }

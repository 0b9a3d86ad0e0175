package landing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v5"
	"go.uber.org/zap"

	"virtrigaud-provider-truenas/server/background"
	"virtrigaud-provider-truenas/server/disk"
	"virtrigaud-provider-truenas/server/spec"
	"virtrigaud-provider-truenas/truenas"
)

// leastHold is the minimum delay before an image with wrong content is fetched again.
const leastHold = 30 * time.Second

// beginWithin bounds how long ImagePrepare waits for the source to open; the manager waits five minutes for the response.
const beginWithin = 20 * time.Second

// Images prepares images on the NAS, and tracks the preparations of this process.
type Images struct {
	lander *Lander
	cfg    ImagesConfig
	work   *background.Works[preparation] // by the image's dataset
}

// ImagesConfig is the configuration of [Images]. All functions must be set.
type ImagesConfig struct {
	Provider string // the id of the provider
	Layout   spec.Layout
	NASPaths []string                                                     // the datasets of permitted image files
	Conflict func(error) bool                                             // reports whether a removal failed because an object is in use
	Changed  func()                                                       // called when an image may have been added
	OnImage  func(took time.Duration, err error)                          // called after each preparation, unless the process ended it
	Trace    func(context.Context, string) (context.Context, func(error)) // called before each preparation; the function at its end
	Log      *zap.Logger
}

// NewImages returns the images of a provider. Preparations end with ctx.
func NewImages(ctx context.Context, lander *Lander, cfg ImagesConfig) *Images {
	return &Images{work: background.New[preparation](ctx, func(error) bool { return true }), lander: lander, cfg: cfg}
}

type preparation struct {
	image    spec.Image
	progress disk.Progress
}

// landingWatch receives the progress of a landing.
type landingWatch struct {
	seen     observed
	progress func(disk.Progress)
	begun    func() // the source is open, and the NAS has the record of the image
}

// Wait returns when no preparation is in progress.
func (p *Images) Wait() { p.work.Wait() }

// State reports whether an image is being prepared, or why the last attempt failed. It reports a failure once, so that the next
// caller starts again, or for a while if a new attempt is pointless.
func (p *Images) State(dataset string) (running bool, err error) { return p.work.State(dataset) }

// Peek is State for callers that start no new attempt.
func (p *Images) Peek(dataset string) (running bool, err error) { return p.work.Peek(dataset) }

// Progress returns the progress of an image's preparation.
func (p *Images) Progress(dataset string) (now disk.Progress, running bool) {
	about, running := p.work.Get(dataset)
	return about.progress, running
}

// States returns the images in preparation, and those whose last attempt failed a short time ago.
func (p *Images) States() []ImageState {
	var list []ImageState
	p.work.Each(func(dataset string, about preparation, at time.Time, err error) {
		list = append(list, ImageState{
			Name: about.image.Name, Dataset: dataset, Source: about.image.Job.PublicSource(),
			Running: err == nil, Since: at, Done: about.progress, Err: err,
		})
	})
	return list
}

// IsArtifact reports whether the last work on a dataset was for a VMImage.
func (p *Images) IsArtifact(dataset string) (artifact bool) {
	p.work.Each(func(key string, about preparation, _ time.Time, _ error) {
		artifact = artifact || key == dataset && about.image.Identity != nil
	})
	return artifact
}

// begin is start, and waits for a limited time until the preparation has begun, so that the caller gets the error of an unavailable
// image right away.
func (p *Images) begin(ctx context.Context, i spec.Image, seen observed) error {
	w := p.start(i, seen)
	if w == nil {
		return nil
	}
	select {
	case <-w.Begun:
	case <-w.Done:
	case <-time.After(beginWithin):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := p.work.State(i.Dataset())
	return err
}

// Start lands an image in the background unless a landing is in progress or the process ends.
func (p *Images) Start(i spec.Image) *background.Work[preparation] { return p.start(i, observed{}) }

// start is Start for a caller that has read the state of the image, which spares the first attempt a round trip.
func (p *Images) start(i spec.Image, seen observed) *background.Work[preparation] {
	return p.work.Start(i.Dataset(), preparation{image: i}, func(ctx context.Context, w *background.Work[preparation]) error {
		return p.run(ctx, i, seen, w)
	})
}

func (p *Images) run(ctx context.Context, i spec.Image, seen observed, w *background.Work[preparation]) error {
	ctx, limit := newWorkTime(ctx, i.Job.Timeout)
	defer limit.end()
	log := p.cfg.Log.With(zap.String("image", i.Name), zap.String("key", i.Key))
	log.Info("preparing image")
	ctx, traced := p.cfg.Trace(ctx, "prepare image")
	began, err := p.retry(ctx, i, landingWatch{seen: seen, begun: w.Begin, progress: func(progress disk.Progress) {
		limit.count(!progress.Waiting)
		p.work.Note(w, func(about *preparation) { about.progress = progress })
	}}, log)
	if err != nil && errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		err = fmt.Errorf("%w after %s: %w", context.DeadlineExceeded, i.Job.Timeout, err)
	}
	traced(err)
	interrupted := p.work.Interrupted()
	if err == nil || !interrupted {
		p.cfg.OnImage(time.Since(w.Since), err)
	}
	switch {
	case err == nil:
		log.Info("image is ready", zap.String("path", i.Snapshot()))
	case !interrupted:
		log.Error("image could not be prepared", zap.Error(err))
		if began && causedByImage(err) {
			return held(w, err)
		}
	}
	return err
}

// retry repeats a preparation after a temporary failure, as often as the image's spec allows. It does not repeat a preparation
// that has not begun, because its caller gets the error and retries.
func (p *Images) retry(ctx context.Context, i spec.Image, watch landingWatch, log *zap.Logger) (began bool, err error) {
	steps := disk.EveryPercent(5, func(now disk.Progress) { log.Info("landing image", zap.Stringer("progress", now)) })
	_, err = backoff.Retry(ctx, func() (struct{}, error) {
		err := p.land(ctx, i, landingWatch{
			seen:     watch.seen,
			begun:    func() { began = true; watch.begun() },
			progress: func(now disk.Progress) { watch.progress(now); steps(now) },
		})
		if err != nil && (!began || !isImageRetryable(err)) {
			return struct{}{}, backoff.Permanent(err)
		}
		return struct{}{}, err
	}, backoff.WithMaxTries(uint(i.Job.Retries)+1), backoff.WithMaxElapsedTime(0)) //nolint:gosec // 0 to 10.
	return began, err
}

// isImageRetryable reports whether another attempt to prepare an image can succeed.
func isImageRetryable(err error) bool { return truenas.Transient(err) || disk.Temporary(err) }

// causedByImage reports whether the image causes the failure, not the NAS.
func causedByImage(err error) bool {
	var there *truenas.Error
	return !isImageRetryable(err) && !errors.As(err, &there)
}

// held delays the next attempt after the failure of an image with wrong content, such as a checksum mismatch. The manager
// repeats the call every few seconds and would cause a download each time; the next attempt is allowed after twice the duration
// of this one. An image with another checksum or address is another image.
func held(w *background.Work[preparation], err error) error {
	w.Until = time.Now().Add(min(max(2*time.Since(w.Since), leastHold), background.FailureAge))
	return fmt.Errorf("%w; no further download before %s UTC", err, w.Until.UTC().Format(time.TimeOnly))
}

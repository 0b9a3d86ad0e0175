package background

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// JustDone reports a success for a short time, and until the next work begins.
func TestJustDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		works := New[string](t.Context(), func(error) bool { return true })
		work := func(result error) {
			w := works.Start("image", "about", func(context.Context, *Work[string]) error { return result })
			<-w.Done
		}
		if works.JustDone("image") {
			t.Error("Start returned nil")
		}
		work(nil)
		if !works.JustDone("image") {
			t.Error("the work succeeded")
		}
		work(errors.New("failed"))
		if works.JustDone("image") {
			t.Error("the last work failed")
		}
		work(nil)
		time.Sleep(SuccessAge + 1) // The clock of the bubble.
		if works.JustDone("image") {
			t.Error("the work ended long ago")
		}
		works.Wait()
	})
}

package refusal

import "errors"

// withheld is a failure whose text names an object that may belong to another tenant. A manager of line 0.4 has tenants, who read
// its messages in the status of their objects, so they get the public text, and the log gets the other one.
type withheld struct {
	error
	public string
}

func (w withheld) Unwrap() error { return w.error }

// Withheld gives a failure the text that every tenant may read. [Public] returns it.
func Withheld(err error, public string) error { return withheld{err, public} }

// reworded is a failure with another text.
type reworded struct {
	error
	text string
}

func (r reworded) Error() string { return r.text }
func (r reworded) Unwrap() error { return r.error }

// Public reports whether err has another text for all tenants, and returns the failure with that text.
func Public(err error) (differs bool, public error) {
	var w withheld
	if !errors.As(err, &w) {
		return false, err
	}
	return true, reworded{err, w.public}
}

// hidden has the text of another error without its kinds.
type hidden struct{ error }

// Hide returns an error with the text of err that [errors.Is] and [errors.As] do not recognize as err.
func Hide(err error) error { return hidden{err} }

package truenas

func classify(e *Error) error { return nil }

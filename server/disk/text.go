package disk

import (
	"bytes"
	"regexp"
	"unicode/utf8"
)

// texts are the beginnings of texts, after white space and comments, in lower case.
var texts = []struct {
	begins string
	is     signature
}{
	{"<!doctype html", htmlPage},
	{"<html", htmlPage},
	{"<head", htmlPage},
	{"<body", htmlPage},
	{"<script", htmlPage},
	{"<meta", htmlPage},
	{"<title", htmlPage},
	{"<envelope", ovfDescriptor},
	{"<", signature{name: "an XML or HTML document", advice: pageAdvice}},
	{"{", jsonDocument},
	{"[{", jsonDocument},
	{`["`, jsonDocument},
	{"-----begin pgp signed message", signature{name: "a PGP-signed text, such as a list of checksums", advice: sumsAdvice}},
	{"-----begin pgp", signature{name: "a PGP signature or key", advice: sumsAdvice}},
	{"-----begin", signature{name: "a PEM file"}},
	{"#cloud-config", signature{name: "cloud-init user data", advice: "give it as user data of the VM"}},
	{"#!", signature{name: "a script"}},
}

const (
	pageAdvice = "the address leads to a page, maybe of an error or a login; give the address of the file itself"
	sumsAdvice = "give it as the checksum, and the disk image's own address as the url"
)

var (
	htmlPage      = signature{name: "an HTML page", advice: pageAdvice}
	jsonDocument  = signature{name: "a JSON document", advice: pageAdvice}
	ovfDescriptor = signature{name: "an OVF descriptor", advice: "give the vmdk that it names, or the OVA that holds both"}
	checksumList  = signature{name: "a list of checksums", advice: sumsAdvice}
)

// sumLine is a line of a list of checksums, as GNU coreutils and as BSD tools write it.
var sumLine = regexp.MustCompile(`(?m)^(?:[0-9a-fA-F]{32,128}(?:\s|$)|(?:MD5|SHA\d+) ?\()`)

// comment matches a comment before the first element of a page.
var comment = regexp.MustCompile(`(?s)^(?:<!--.*?-->|<\?xml.*?\?>)\s*`)

// byteOrderMarks begin texts in UTF-8 and in the two orders of UTF-16.
var byteOrderMarks = [][]byte{{0xef, 0xbb, 0xbf}, {0xff, 0xfe}, {0xfe, 0xff}}

// probeText detects the kind of a text; false if the content is not a text. A disk has a zero or a control character
// somewhere in its first 32 KiB, be it in its boot code or in its partition table.
func probeText(start []byte) (signature, bool) {
	text := start
	for i, mark := range byteOrderMarks {
		if rest, ok := bytes.CutPrefix(start, mark); ok {
			text = rest
			if i > 0 {
				text = bytes.ReplaceAll(rest, []byte{0}, nil) // Sufficient to recognize the kind.
			}
			break
		}
	}
	if len(start) == 0 || !isText(text) {
		return signature{}, false
	}
	return kindOfText(text), true
}

// kindOfText distinguishes the kinds of text.
func kindOfText(text []byte) signature {
	text = bytes.ToLower(bytes.TrimSpace(text))
	if bare := comment.ReplaceAll(text, nil); len(bare) > 0 {
		for i := 0; i < 8 && comment.Match(bare); i++ {
			bare = comment.ReplaceAll(bare, nil)
		}
		if len(bare) > 0 {
			text = bare
		}
	}
	for _, t := range texts {
		if bytes.HasPrefix(text, []byte(t.begins)) {
			return t.is
		}
	}
	if sumLine.Match(text) || bytes.Contains(text, []byte("sha256 (")) {
		return checksumList
	}
	return signature{name: "plain text"}
}

// isText reports whether all of b is printable UTF-8; its last character may be incomplete.
func isText(b []byte) bool {
	for len(b) > 0 {
		r, n := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && n == 1 && len(b) >= utf8.UTFMax:
			return false
		case r == utf8.RuneError && n == 1:
			return !utf8.FullRune(b)
		case r < ' ' && r != '\n' && r != '\r' && r != '\t' && r != '\f' && r != '\x1b', r == 0x7f:
			return false
		}
		b = b[n:]
	}
	return true
}

// Package words is a lint for the project's English: its tests search Go comments, string literals and identifiers, the names
// of files, Markdown, manifests, scripts and protobuf files for words and phrases that make the text hard to read, and name a
// replacement for each. No directory is exempt.
//
// The lint covers wording only, so that it stays precise. A text that another program writes, and that ours has to recognise,
// belongs in the allow list with the reason.
package words

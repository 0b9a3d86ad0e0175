package program

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A Command is an entry of a program's command table.
type Command struct {
	Use      string // name and arguments, such as "health HOST:PORT"
	Short    string // one line, for the list of commands
	Long     string // the text of --help; default Short
	Example  string // lines of examples, indented by two spaces
	TakeArgs bool   // Run checks the arguments; without it any argument is an error

	// Flags defines the flags of the command.
	Flags func(flags *pflag.FlagSet)
	// Run runs the command with the parsed flags and the arguments that are not flags.
	Run func(ctx context.Context, flags *pflag.FlagSet, args []string) error

	Commands []Command
}

// Execute runs the command that args name, or root without a name. In addition to its table, each program has the commands
// completion, help and version, and the flags --help and --version. Wrong flags, commands and arguments are errors made by
// [Usage].
func Execute(ctx context.Context, root Command, build Build, args []string, out io.Writer) error {
	printVersion := func() error {
		_, err := fmt.Fprintln(out, build)
		return err
	}
	root.Commands = append(root.Commands, Command{
		Use: "version", Short: "Print the version",
		Run: func(context.Context, *pflag.FlagSet, []string) error { return printVersion() },
	})
	c := root.cobra()
	version := c.Flags().Bool("version", false, "print the version and exit")
	run := c.RunE
	c.RunE = func(c *cobra.Command, args []string) error {
		if *version {
			return printVersion()
		}
		return run(c, args)
	}
	c.SilenceErrors, c.SilenceUsage = true, true
	c.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return Usage(err) })
	c.SetOut(out)
	c.SetArgs(append([]string{}, args...)) // Not nil: cobra would use the arguments of the process.
	return c.ExecuteContext(ctx)
}

// cobra converts a command and its subcommands.
func (row Command) cobra() *cobra.Command {
	c := &cobra.Command{
		Use: row.Use, Short: row.Short, Long: row.Long, Example: row.Example, DisableFlagsInUseLine: strings.Contains(row.Use, " "),
		ValidArgsFunction: cobra.NoFileCompletions,
		Args: func(c *cobra.Command, args []string) error {
			if row.TakeArgs || len(args) == 0 {
				return nil
			}
			return unknownArgument(c, args[0])
		},
		RunE: func(c *cobra.Command, args []string) error { return row.Run(c.Context(), c.Flags(), args) },
	}
	c.Flags().SortFlags = false
	if row.Flags != nil {
		row.Flags(c.Flags())
	}
	if row.Run == nil {
		c.RunE = func(c *cobra.Command, _ []string) error {
			return Usage(fmt.Errorf("%s: missing command; try --help", c.CommandPath()))
		}
	}
	for _, below := range row.Commands {
		c.AddCommand(below.cobra())
	}
	return c
}

// unknownArgument suggests a command whose name is similar to text.
func unknownArgument(c *cobra.Command, text string) error {
	if !c.HasAvailableSubCommands() {
		return Usage(fmt.Errorf("unknown argument %q; try %s --help", text, c.CommandPath()))
	}
	c.SuggestionsMinimumDistance = 2
	hint := ""
	if near := c.SuggestionsFor(text); len(near) > 0 {
		hint = "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return Usage(fmt.Errorf("unknown command %q for %s; try --help%s", text, c.CommandPath(), hint))
}

module github.com/summerwind/h2spec

go 1.25

require (
	github.com/fatih/color v1.18.0
	github.com/spf13/cobra v1.10.1
	golang.org/x/net v0.43.0
)

require (
	github.com/inconshreveable/mousetrap v1.1.0 // indirect
	github.com/mattn/go-colorable v0.1.13 // indirect
	github.com/mattn/go-isatty v0.0.20 // indirect
	github.com/spf13/pflag v1.0.9 // indirect
	golang.org/x/sys v0.35.0 // indirect
	golang.org/x/text v0.28.0 // indirect
)

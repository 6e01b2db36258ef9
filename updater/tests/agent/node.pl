#!/usr/bin/perl
# A small stateful node for the agent's tests. VERSION, SCHEMA and FLAGS are filled in.
use strict;
use warnings;
use IO::Handle;
use POSIX 'setsid';
use Socket;

my ($version, $schema, $flags) = ('@VERSION@', @SCHEMA@, '@FLAGS@');
my ($verb, $state, $from, $to) = @ARGV;

sub slurp { open(my $f, '<', $_[0]) or return ''; local $/; my $text = <$f>; return defined $text ? $text : ''; }

sub save {
    my ($path, $text) = @_;
    open(my $f, '>', "$path.new") or die "$path: $!";
    print $f $text;
    $f->flush; $f->sync; close $f;
    rename("$path.new", $path) or die "$path: $!";
}

if ($verb eq 'migrate') {
    die "this way back is barred\n" if $flags =~ /back-fails/ && $to < $from;
    # Line by line and idempotent: a line of schema 2 begins with a mark.
    my @lines = map { s/^2://r } split /\n/, slurp("$state/words");
    @lines = map { "2:$_" } @lines if $to == 2;
    save("$state/words", join('', map { "$_\n" } @lines));
    save("$state/schema", $to);
    if ($flags =~ /leaves-daemon-live/ && $state !~ m{^/state} && fork() == 0) {
        setsid();
        exec 'sleep', '600' if fork() == 0;
        exit 0;
    }
    die "it fails when all is done\n" if $flags =~ /forward-fails-live/ && $to > $from && $state !~ m{^/state};
    exit 0;
}

my $found = slurp("$state/schema");
save("$state/schema", $found = $schema) if $found eq '';
die "the data has schema $found, this version knows $schema\n" unless $found == $schema;

my $stop = 0;
$SIG{TERM} = sub { $stop = 1 };
open(my $listener, '+<&=', 3) or die "no socket: $!";
socket(my $notify, AF_UNIX, SOCK_DGRAM, 0) or die;
send($notify, "READY=1", 0, sockaddr_un($ENV{NOTIFY_SOCKET})) or die "cannot notify: $!";
if ($flags =~ /phones-home/) {
    socket(my $out, AF_INET, SOCK_STREAM, 0) or die;
    connect($out, sockaddr_in(4444, inet_aton('203.0.113.5')));
}
open(my $words, '>>', "$state/words") or die;
my $mark = $schema == 2 ? '2:' : '';
until ($stop) {
    vec(my $read = '', fileno($listener), 1) = 1;
    next unless select($read, undef, undef, 0.05) > 0;
    accept(my $client, $listener) or next;
    my $line = <$client>;
    while (my $head = <$client>) { last if $head =~ /^\r?$/ }
    if (defined $line && $line =~ m{^PUT /(\S+)}) {
        kill 'KILL', $$ if $flags =~ /crash-on-write/;
        print $words "$mark$1\n";
        $words->flush;
        $words->sync unless $flags =~ /careless/;
    }
    my $status = $flags =~ /sick-live/ && $state !~ m{^/state} ? '503 No' : '200 OK';
    my $body = qq({"product":"example","version":"$version"});
    print $client "HTTP/1.1 $status\r\nContent-Length: " . length($body) . "\r\nConnection: close\r\n\r\n$body";
    close $client;
}

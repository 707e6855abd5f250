#!/usr/bin/perl
# Writes data/unicode_tables.h: what of Unicode the tokenizer needs, out of the tables inside Perl (5.36 of Debian 12
# has Unicode 14), so that Tenon classes and lowers characters as Moses' Perl scripts do on such a machine.
#   tools/unicode.pl >data/unicode_tables.h
use strict;
use warnings;
use Unicode::UCD;

# ASCII is not in the tables; surrogates are no characters.
my @chars = map { my $s = chr $_; utf8::upgrade($s); $s } 0x80 .. 0xd7ff, 0xe000 .. 0x10ffff;

# One row: [first, last, step, delta].  Neighbours of the same delta that are 1 or 2 apart share a row.
sub rows {
    my ($delta_of, $strides) = @_;
    my @rows;
    for my $s (@chars) {
        my $delta = $delta_of->($s);
        next if !defined $delta;
        my $c = ord $s;
        my $r = $rows[-1];
        my $apart = $r ? $c - $r->[1] : 0;
        if ($r && $r->[3] == $delta && ($apart == 1 || ($strides && $apart == 2))
            && ($r->[0] == $r->[1] || $r->[2] == $apart)) {
            $r->[1] = $c;
            $r->[2] = $apart;
        } else {
            push @rows, [$c, $c, 1, $delta];
        }
    }
    return @rows;
}

sub table {
    my ($type, $name, @texts) = @_;
    print "\nstatic const $type $name\[] = {\n";
    my $line = "   ";
    for my $text (@texts) {
        if (length($line) + length($text) > 117) {
            print "$line\n";
            $line = "   ";
        }
        $line .= " $text,";
    }
    print "$line\n};\n";
}

my %classes = (
    alpha    => qr/\p{Alphabetic}/,
    digit    => qr/\p{Nd}/,
    number   => qr/\p{N}/,
    space    => qr/\s/,
    currency => qr/\p{Sc}/,
);

print "/* Characters beyond ASCII by Unicode ", Unicode::UCD::UnicodeVersion(), "; written by tools/unicode.pl.\n",
      " * What the tables are for: unicode.c. */\n";
for my $name (sort keys %classes) {
    table("range", $name, map { sprintf "{0x%x, 0x%x}", @$_[0, 1] } rows(sub { $_[0] =~ $classes{$name} ? 0 : undef }, 0));
}
my @lower = rows(sub { $_[0] =~ /\p{Lowercase}/ ? 0 : undef }, 1);
my @lowered = rows(sub { my $l = lc $_[0]; $l eq $_[0] ? undef : ord($l) - ord($_[0]) }, 1);
table("steps", "lower", map { sprintf "{{0x%x, 0x%x}, %d, %d}", @$_ } @lower);
table("steps", "lowered", map { sprintf "{{0x%x, 0x%x}, %d, %d}", @$_ } @lowered);
